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

/// Computes a product with all threads. Each element of c has the same bits for any number of threads and
/// whatever the other rows and columns are.
template <typename T>
void gemm(const Gemm<T>& args);

/// The same bits, in the calling thread alone.
template <typename T>
void gemm_in_thread(const Gemm<T>& args);

}  // namespace normtune
