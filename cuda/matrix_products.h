#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>

#include "cuda/cublas_lt.h"
#include "cuda/stream_allocator.h"
#include "tensor/backend.h"

namespace normtune::cuda {

/// c = op(a) op(b), or c += ..., for row-major matrices; `batch` of them, `stride` elements apart. After op:
/// a [m, k], b [k, n], c [m, n]. All are float32, or a and b bfloat16 and c either.
struct Product {
  struct Operand {
    void* data;
    int64_t ld;
    bool transpose = false;
    int64_t stride = 0;
  };
  int64_t m, n, k;
  Operand a, b, c;
  int64_t batch = 1;
  bool accumulate = false;
  const void* bias = nullptr;  // [n], of c's dtype, added to each row at the end; see takes_bias()
  DType factor_dtype = DType::float32, result_dtype = DType::float32;
  bool rounds_to_tf32 = false;  // factors in float32
};

/// Matrix products by cuBLASLt, with sums in float32. The algorithm of a shape is the first of
/// cuBLASLt's heuristic list among those that add up in a fixed order, and is kept: equal bits in every run.
class MatrixProducts {
 public:
  MatrixProducts(const Stream& stream, Allocator& allocator);
  ~MatrixProducts();

  /// Whether a product can add this bias: its kernels may read 16 bytes at once.
  static bool takes_bias(const void* bias) { return reinterpret_cast<uintptr_t>(bias) % 16 == 0; }
  /// m, n and k are at least 1. A bias is for products that are no batch. Returns whether it was added:
  /// cuBLASLt cannot do that for every shape.
  bool multiply(const Product& product);
  /// Whether the plans used from now on are kept for good: a capture must find those of its rehearsal.
  void keep_plans(bool keeps) { keeps_plans_ = keeps; }

 private:
  struct Plan;  // descriptors and algorithm of one shape
  struct KnownPlan {
    std::unique_ptr<Plan> plan;  // null for a bias that cuBLASLt cannot add
    bool is_kept = false;
  };
  using Key = std::array<int64_t, 19>;

  static Key key_of(const Product& product);
  std::unique_ptr<Plan> make_plan(const Product& product) const;
  bool choose_algorithm(const Product& product, Plan& plan) const;
  Plan* plan_for(const Product& product);
  void enqueue(const Product& product, const Plan& plan) const;

  const Stream& stream_;
  void* workspace_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, KnownPlan> plans_;
  bool keeps_plans_ = false;
};

}  // namespace normtune::cuda
