#pragma once

#include <array>
#include <map>
#include <memory>

#include "cuda/cublas_lt.h"
#include "cuda/stream_allocator.h"

namespace normtune::cuda {

/// c = op(a) op(b), or c += ..., for row-major float matrices; `batch` of them, `stride` elements apart.
/// After op: a [m, k], b [k, n], c [m, n].
struct Product {
  struct Operand {
    float* data;
    int64_t ld;
    bool transpose = false;
    int64_t stride = 0;
  };
  int64_t m, n, k;
  Operand a, b, c;
  int64_t batch = 1;
  bool accumulate = false;
};

/// Matrix products by cuBLASLt in strict float32 (no TF32). The algorithm of a shape is the first of
/// cuBLASLt's heuristic list among those that add up in a fixed order, and is kept: equal bits in every run.
class MatrixProducts {
 public:
  MatrixProducts(const Stream& stream, Allocator& allocator);
  ~MatrixProducts();

  /// m, n and k are at least 1.
  void multiply(const Product& product);

 private:
  struct Plan;  // descriptors and algorithm of one shape
  using Key = std::array<int64_t, 15>;

  static Key key_of(const Product& product);
  std::unique_ptr<Plan> make_plan(const Product& product) const;
  void choose_algorithm(const Product& product, Plan& plan) const;

  const Stream& stream_;
  void* workspace_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace normtune::cuda
