#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace normtune {

/// c = op(a) op(b), or c += op(a) op(b), and then c += bias in each row if there is one, for row-major
/// matrices with row distances lda, ldb, ldc. After op: a [m, k], b [k, n], c [m, n].
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
  const T* bias = nullptr;      // [n]
  const T* packed_b = nullptr;  // what pack_factor() has made of b, if it is known
};

/// The end of a product: adds the bias, if there is one, to rows [begin, begin + m) and columns [n_begin,
/// n_begin + n) of c, best while they lie in the caches.
template <typename T>
void add_bias(const Gemm<T>& args, int64_t begin, int64_t m, int64_t n_begin, int64_t n);

/// b as gemm() packs it for itself, with the instruction set in use: for products that have b in common.
/// Takes b, n and k of `args`.
template <typename T>
Tensor pack_factor(const Gemm<T>& args);

/// Computes a product with all threads. Each element of c has the same bits for any number of threads and
/// whatever the other rows and columns are.
template <typename T>
void gemm(const Gemm<T>& args);

/// The same bits, in the calling thread alone; no bias and no packed_b.
template <typename T>
void gemm_in_thread(const Gemm<T>& args);

}  // namespace normtune
