#pragma once

#include "cuda/reductions.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// The rows of a batch as examples: example e owns the rows [cu_seqlens[e], cu_seqlens[e + 1]).
struct Examples {
  const int32_t* cu_seqlens;
  int64_t batch;
};

inline Examples examples_of(const Tensor& cu_seqlens) {
  return {cu_seqlens.data<int32_t>(), cu_seqlens.numel() - 1};
}

/// A term is the square of one example's sum, which a thread takes.
template <typename T, typename Launcher>
void squared_column_sums_of(const Launcher& launch, const Backend::SquaredColumnSums& args) {
  const T *input = args.input.as<T>(), *factor = elements<T>(args.factor);
  const int64_t columns = args.input.cols, ld = args.input.ld;
  const Examples examples = examples_of(args.cu_seqlens);
  float* output = floats(args.output);
  sum_column_terms(
      launch, examples.batch, columns,
      [=] __device__(int64_t e, int64_t j) -> double {
        double sum = 0;
        for (int64_t i = examples.cu_seqlens[e]; i < examples.cu_seqlens[e + 1]; ++i) {
          const auto value = static_cast<double>(static_cast<float>(input[i * ld + j]));
          const auto factor_value =
              factor == nullptr ? 1.0 : static_cast<double>(static_cast<float>(factor[i * columns + j]));
          sum += value * factor_value;
        }
        return sum * sum;
      },
      [=] __device__(int64_t j, float sum) { output[j] = sum; });
}

template <typename Launcher>
void squared_column_sums(const Launcher& launch, const Backend::SquaredColumnSums& args) {
  with_activation_type(args.input.dtype, [&]<typename T>(T) { squared_column_sums_of<T>(launch, args); });
}

template <typename T>
struct SquaredProductArguments {
  const T* a;  // [num_rows, m]
  int64_t m, lda;
  const T* b;  // [num_rows, n]
  int64_t n, ldb;
  Examples examples;
  float* output;  // [m, n]
};

/// Side of the tile of the output that a block computes, one element for each thread, and rows that it reads
/// at a time.
constexpr int product_tile = 16;

/// Reads a tile [rows, product_tile], zero beyond the last row and column; each thread one element.
template <typename T>
__device__ inline void read_product_tile(const T* matrix, int64_t ld, int64_t row, int64_t end_row,
                                         int64_t column, int64_t end_column, float (*tile)[product_tile]) {
  const int i = threadIdx.x / product_tile, j = threadIdx.x % product_tile;
  const bool inside = row + i < end_row && column + j < end_column;
  tile[i][j] = inside ? static_cast<float>(matrix[(row + i) * ld + column + j]) : 0.f;
}

/// output[i, j] = sum over e of (sum over the rows r of e of a[r, i] * b[r, j])^2
template <typename T>
__global__ void squared_products_kernel(SquaredProductArguments<T> args) {
  __shared__ float a_tile[product_tile][product_tile], b_tile[product_tile][product_tile];
  const int own_i = threadIdx.x / product_tile, own_j = threadIdx.x % product_tile;
  const int64_t first_i = static_cast<int64_t>(blockIdx.y) * product_tile;
  const int64_t first_j = static_cast<int64_t>(blockIdx.x) * product_tile;
  float squares = 0;
  for (int64_t e = 0; e < args.examples.batch; ++e) {
    const int64_t end_row = args.examples.cu_seqlens[e + 1];
    float sum = 0;
    for (int64_t row = args.examples.cu_seqlens[e]; row < end_row; row += product_tile) {
      __syncthreads();  // nobody still reads the last tiles
      read_product_tile(args.a, args.lda, row, end_row, first_i, args.m, a_tile);
      read_product_tile(args.b, args.ldb, row, end_row, first_j, args.n, b_tile);
      __syncthreads();
      for (int r = 0; r < product_tile; ++r) sum += a_tile[r][own_i] * b_tile[r][own_j];
    }
    squares += sum * sum;
  }
  const int64_t i = first_i + own_i, j = first_j + own_j;
  if (i < args.m && j < args.n) args.output[i * args.n + j] = squares;
}

template <typename Launcher>
void squared_products(const Launcher& launch, const Backend::SquaredProducts& args) {
  const Grid grid{.blocks = divide_up(args.b.cols, product_tile),
                  .blocks_y = divide_up(args.a.cols, product_tile),
                  .threads = product_tile * product_tile};
  with_activation_type(args.a.dtype, [&]<typename T>(T) {
    const SquaredProductArguments<T> arguments{.a = args.a.as<T>(),
                                               .m = args.a.cols,
                                               .lda = args.a.ld,
                                               .b = args.b.as<T>(),
                                               .n = args.b.cols,
                                               .ldb = args.b.ld,
                                               .examples = examples_of(args.cu_seqlens),
                                               .output = floats(args.output)};
    launch(squared_products_kernel<T>, grid, arguments);
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
