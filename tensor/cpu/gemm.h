#pragma once

#include <cstdint>

namespace normtune {

/// c = op(a) op(b), or c += op(a) op(b), for row-major matrices with row distances lda, ldb, ldc. After op: a
/// [m, k], b [k, n], c [m, n].
template <typename T>
struct Gemm {
  int64_t m, n, k;
  const T* a;
  int64_t lda;
  bool transpose_a;
  const T* b;
  int64_t ldb;
  bool transpose_b;
  T* c;
  int64_t ldc;
  bool accumulate;
};

/// Runs in the calling thread; float through oneDNN (which then must be called inside a parallel region),
/// double through the blocked product.
void gemm_in_thread(const Gemm<float>& args);
void gemm_in_thread(const Gemm<double>& args);

}  // namespace normtune
