#include <dnnl.h>

#include <algorithm>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"

namespace normtune {
namespace {

// Sizes of the blocked product: a block of b stays in the second-level cache, a block of a in the first.
constexpr int64_t block_m = 32, block_n = 128, block_k = 128;

/// Copies rows x columns elements so that rows become contiguous; with `transpose`, source is [columns,
/// rows].
template <typename T>
void pack(const T* source, int64_t ld, bool transpose, int64_t rows, int64_t columns, T* packed) {
  const int64_t row_step = transpose ? 1 : ld, column_step = transpose ? ld : 1;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) packed[i * columns + j] = source[i * row_step + j * column_step];
  }
}

template <typename T>
void set_to_zero(T* c, int64_t ldc, int64_t m, int64_t n) {
  for (int64_t i = 0; i < m; ++i) std::fill(c + i * ldc, c + i * ldc + n, T(0));
}

/// The product of at most block_m rows, in the order of k.
template <typename T>
void multiply_row_block(const Gemm<T>& args) {
  T packed_a[block_m * block_k];
  T packed_b[block_k * block_n];
  const auto& loops = vector::loops<T>();
  if (!args.accumulate) set_to_zero(args.c, args.ldc, args.m, args.n);
  for (int64_t k_begin = 0; k_begin < args.k; k_begin += block_k) {
    const int64_t k_count = std::min(block_k, args.k - k_begin);
    const T* a = args.a + (args.transpose_a ? k_begin * args.lda : k_begin);
    pack(a, args.lda, args.transpose_a, args.m, k_count, packed_a);
    for (int64_t n_begin = 0; n_begin < args.n; n_begin += block_n) {
      const int64_t n_count = std::min(block_n, args.n - n_begin);
      const T* b = args.b + (args.transpose_b ? n_begin * args.ldb + k_begin : k_begin * args.ldb + n_begin);
      pack(b, args.ldb, args.transpose_b, k_count, n_count, packed_b);
      loops.multiply_accumulate(packed_a, k_count, packed_b, n_count, args.c + n_begin, args.ldc, args.m,
                                k_count, n_count);
    }
  }
}

template <typename T>
Gemm<T> row_range(Gemm<T> args, int64_t begin, int64_t end) {
  args.a += begin * (args.transpose_a ? 1 : args.lda);
  args.c += begin * args.ldc;
  args.m = end - begin;
  return args;
}

void call_sgemm(const Gemm<float>& args) {
  const auto status =
      dnnl_sgemm(args.transpose_a ? 'T' : 'N', args.transpose_b ? 'T' : 'N', args.m, args.n, args.k, 1.f,
                 args.a, args.lda, args.b, args.ldb, args.accumulate ? 1.f : 0.f, args.c, args.ldc);
  check(status == dnnl_success, "matmul: oneDNN refused a product of {} x {} x {}", args.m, args.n, args.k);
}

/// oneDNN splits a long inner dimension of a transposed first matrix over the threads, which makes the bits
/// depend on their number. It does not for at most this many terms.
constexpr int64_t longest_transposed_k = 1024;

void gemm(Gemm<float> args) {
  if (!args.transpose_a) return call_sgemm(args);
  const int64_t k = args.k;
  for (int64_t begin = 0; begin < k; begin += longest_transposed_k) {
    args.k = std::min(longest_transposed_k, k - begin);
    call_sgemm(args);
    args.a += args.k * args.lda;
    args.b += args.k * (args.transpose_b ? 1 : args.ldb);
    args.accumulate = true;
  }
}

void gemm(const Gemm<double>& args) {
  parallel_pieces(args.m, block_m,
                  [&](int64_t begin, int64_t end) { multiply_row_block(row_range(args, begin, end)); });
}

/// No terms or no elements: nothing to multiply.
template <typename T>
bool is_trivial(const Gemm<T>& args) {
  if (args.k == 0 && !args.accumulate) set_to_zero(args.c, args.ldc, args.m, args.n);
  return args.m == 0 || args.n == 0 || args.k == 0;
}

}  // namespace

void gemm_in_thread(const Gemm<float>& args) {
  if (!is_trivial(args)) call_sgemm(args);
}

void gemm_in_thread(const Gemm<double>& args) {
  if (is_trivial(args)) return;
  for (int64_t begin = 0; begin < args.m; begin += block_m) {
    multiply_row_block(row_range(args, begin, std::min(begin + block_m, args.m)));
  }
}

void CpuBackend::matmul(const MatMul& args) {
  dispatch_floating(args.c.dtype, [&]<typename T>() {
    const Gemm<T> product{.m = args.c.rows,
                          .n = args.c.cols,
                          .k = args.transpose_a ? args.a.rows : args.a.cols,
                          .a = args.a.as<T>(),
                          .lda = args.a.ld,
                          .transpose_a = args.transpose_a,
                          .b = args.b.as<T>(),
                          .ldb = args.b.ld,
                          .transpose_b = args.transpose_b,
                          .c = args.c.as<T>(),
                          .ldc = args.c.ld,
                          .accumulate = args.accumulate};
    if (!is_trivial(product)) gemm(product);
  });
}

void CpuBackend::batched_matmul(const BatchedMatMul& args) {
  const int64_t batch = args.c.size(0), m = args.c.size(1), n = args.c.size(2);
  const int64_t a_rows = args.a.size(1), a_cols = args.a.size(2), b_rows = args.b.size(1),
                b_cols = args.b.size(2);
  dispatch_floating(args.c.dtype(), [&]<typename T>() {
    const T *a = args.a.data<T>(), *b = args.b.data<T>();
    T* c = args.c.data<T>();
    // Always a parallel region, also for one product: oneDNN then works in the calling thread alone.
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < batch; ++i) {
      gemm_in_thread({.m = m,
                      .n = n,
                      .k = args.transpose_a ? a_rows : a_cols,
                      .a = a + i * a_rows * a_cols,
                      .lda = a_cols,
                      .transpose_a = args.transpose_a,
                      .b = b + i * b_rows * b_cols,
                      .ldb = b_cols,
                      .transpose_b = args.transpose_b,
                      .c = c + i * m * n,
                      .ldc = n,
                      .accumulate = false});
    }
  });
}

}  // namespace normtune
