#include <algorithm>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"
#include "tensor/widened.h"

namespace normtune {
namespace {

constexpr int64_t columns_per_piece = 64;

/// The squared column sums of the columns [begin, end), at most columns_per_piece.
template <typename T>
void square_column_sums(const Backend::SquaredColumnSums& args, int64_t begin, int64_t end) {
  const T* input = args.input.as<T>();
  const T* factor = args.factor == nullptr ? nullptr : args.factor->data<T>();
  const int32_t* bounds = args.cu_seqlens.data<int32_t>();
  const int64_t batch = args.cu_seqlens.numel() - 1;
  double squares[columns_per_piece] = {};
  for (int64_t e = 0; e < batch; ++e) {
    double sums[columns_per_piece] = {};
    for (int64_t row = bounds[e]; row < bounds[e + 1]; ++row) {
      const T* values = input + row * args.input.ld;
      const T* factors = factor == nullptr ? nullptr : factor + row * args.input.cols;
      for (int64_t j = begin; j < end; ++j) {
        const double value = static_cast<double>(values[j]);
        sums[j - begin] += factors == nullptr ? value : value * static_cast<double>(factors[j]);
      }
    }
    for (int64_t j = 0; j < end - begin; ++j) squares[j] += sums[j] * sums[j];
  }
  T* output = args.output.data<T>();
  for (int64_t j = begin; j < end; ++j) output[j] = static_cast<T>(squares[j - begin]);
}

/// A contiguous copy of the squared elements.
template <typename T>
Tensor squared(const MatrixRef& matrix) {
  Tensor squares = Tensor::empty({matrix.rows, matrix.cols}, matrix.dtype);
  const T* elements = matrix.as<T>();
  const auto& loops = vector::loops<T>();
  parallel_rows(matrix.rows, matrix.cols, [&](int64_t row) {
    const T* values = elements + row * matrix.ld;
    loops.multiply(values, values, squares.data<T>() + row * matrix.cols, matrix.cols);
  });
  return squares;
}

/// One tile of the squared products: rows [m_begin, m_begin + m) and columns [n_begin, n_begin + n) of the
/// output, small enough that it stays in the caches while the examples pass.
template <typename T>
struct SquaredTile {
  static constexpr int64_t most_rows = 96, most_columns = 128;
  int64_t m_begin, m, n_begin, n;

  void add_examples(const Backend::SquaredProducts& args) const {
    const int32_t* bounds = args.cu_seqlens.data<int32_t>();
    const int64_t batch = args.cu_seqlens.numel() - 1;
    const auto& loops = vector::loops<T>();
    alignas(64) T product[most_rows * most_columns];
    for (int64_t e = 0; e < batch; ++e) {
      gemm_in_thread(Gemm<T>{.m = m,
                             .n = n,
                             .k = bounds[e + 1] - bounds[e],
                             .a = args.a.as<T>() + bounds[e] * args.a.ld + m_begin,
                             .lda = args.a.ld,
                             .transpose_a = true,
                             .b = args.b.as<T>() + bounds[e] * args.b.ld + n_begin,
                             .ldb = args.b.ld,
                             .transpose_b = false,
                             .c = product,
                             .ldc = n,
                             .accumulate = false});
      for (int64_t i = 0; i < m; ++i) {
        loops.add_squares(product + i * n, args.output.data<T>() + (m_begin + i) * args.b.cols + n_begin, n);
      }
    }
  }
};

template <typename T>
void add_squared_products(const Backend::SquaredProducts& args) {
  using Tile = SquaredTile<T>;
  const int64_t m = args.a.cols, n = args.b.cols;
  const int64_t tile_columns = (n + Tile::most_columns - 1) / Tile::most_columns;
  const int64_t tiles = (m + Tile::most_rows - 1) / Tile::most_rows * tile_columns;
#pragma omp parallel for schedule(dynamic) if (tiles > 1)
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t m_begin = i / tile_columns * Tile::most_rows,
                  n_begin = i % tile_columns * Tile::most_columns;
    const Tile tile{.m_begin = m_begin,
                    .m = std::min(Tile::most_rows, m - m_begin),
                    .n_begin = n_begin,
                    .n = std::min(Tile::most_columns, n - n_begin)};
    tile.add_examples(args);
  }
}

}  // namespace

void CpuBackend::squared_column_sums(const SquaredColumnSums& args) {
  if (args.input.dtype == DType::bfloat16) {
    const Tensor factor = args.factor == nullptr ? Tensor() : widened(*args.factor);
    return squared_column_sums({.input = widened(args.input),
                                .factor = factor.defined() ? &factor : nullptr,
                                .cu_seqlens = args.cu_seqlens,
                                .output = args.output});
  }
  dispatch_floating(args.input.dtype, [&]<typename T>() {
    parallel_pieces(args.input.cols, columns_per_piece,
                    [&](int64_t begin, int64_t end) { square_column_sums<T>(args, begin, end); });
  });
}

void CpuBackend::squared_products(const SquaredProducts& args) {
  if (args.a.dtype == DType::bfloat16) {
    const Tensor a = widened(args.a), b = widened(args.b);
    return squared_products({.a = a, .b = b, .cu_seqlens = args.cu_seqlens, .output = args.output});
  }
  dispatch_floating(args.a.dtype, [&]<typename T>() {
    const bool one_row_each = args.cu_seqlens.numel() - 1 == args.a.rows;
    if (one_row_each) {
      const Tensor a = squared<T>(args.a), b = squared<T>(args.b);
      matmul({.a = a, .transpose_a = true, .b = b, .c = args.output});
      return;
    }
    fill(args.output, 0);
    add_squared_products<T>(args);
  });
}

}  // namespace normtune
