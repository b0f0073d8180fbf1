#pragma once

#include "cuda/tensor_table.cuh"

// Sums have two stages. First each block adds up a fixed piece of the terms; then the partial sums are added
// in a fixed order. No atomic operation takes part: equal bits in every run.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// partial[piece] = sum of value(i) over the terms i of a piece.
template <typename Value>
__global__ void piece_sums_kernel(int64_t count, Value value, double* partial) {
  const int64_t begin = blockIdx.x * elements_per_piece;
  const int64_t end = begin + elements_per_piece < count ? begin + elements_per_piece : count;
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) sum += value(i);
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// One block: finish(sum of all terms).
template <typename Finish>
__global__ void finish_sum_kernel(const double* terms, int64_t count, Finish finish) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += terms[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) finish(sum);
}

template <typename Launcher, typename Finish>
void finish_sum(const Launcher& launch, const double* terms, int64_t count, const Finish& finish) {
  launch(finish_sum_kernel<Finish>, Grid{.blocks = 1, .threads = element_threads}, terms, count, finish);
}

/// Calls finish(sum of value(i) over i in [0, count)) in one thread.
template <typename Launcher, typename Value, typename Finish>
void sum_terms(const Launcher& launch, int64_t count, const Value& value, const Finish& finish) {
  const int64_t pieces = divide_up(count, elements_per_piece);
  const Tensor partial = Tensor::empty({pieces}, DType::float64, launch.device);
  launch(piece_sums_kernel<Value>, Grid{.blocks = pieces, .threads = element_threads}, count, value,
         partial.data<double>());
  finish_sum(launch, partial.data<double>(), pieces, finish);
}

template <typename Launcher>
void sum(const Launcher& launch, const Tensor& input, const Tensor& output) {
  const float* elements = floats(input);
  float* to = floats(output);
  sum_terms(
      launch, input.numel(), [=] __device__(int64_t i) -> double { return static_cast<double>(elements[i]); },
      [=] __device__(double total) { to[0] = static_cast<float>(total); });
}

struct NormEntry {
  const float* elements;
  const int64_t* indices;  // or null for all elements
  int64_t count;
};

/// partial[piece] = sum of squares of the elements of a piece.
static __global__ void piece_squares_kernel(const __grid_constant__ TensorTable<NormEntry> table,
                                            double* partial) {
  const Piece piece = piece_of_block(table);
  const NormEntry& tensor = table.entries[piece.tensor];
  double sum = 0;
  for (int64_t i = piece.begin + threadIdx.x; i < piece.end; i += blockDim.x) {
    const auto value =
        static_cast<double>(tensor.elements[tensor.indices == nullptr ? i : tensor.indices[i]]);
    sum += value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// sums[tensor] = sum of partial[piece] over the pieces of a tensor; a block has a tensor.
static __global__ void sum_pieces_kernel(const __grid_constant__ TensorTable<NormEntry> table,
                                         const double* partial, double* sums) {
  const auto tensor = static_cast<int>(blockIdx.x);
  double sum = 0;
  for (int64_t piece = table.pieces_begin(tensor) + threadIdx.x; piece < table.pieces_end[tensor];
       piece += blockDim.x) {
    sum += partial[piece];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[tensor] = sum;
}

/// Writes the sum of squares of each input to `result` [number of inputs] float64.
template <typename Launcher>
void squared_norms(const Launcher& launch, const std::vector<Backend::NormInput>& inputs,
                   const Tensor& result) {
  std::vector<NormEntry> entries;
  for (const Backend::NormInput& input : inputs) {
    entries.push_back({.elements = floats(input.tensor),
                       .indices = int64s(input.indices),
                       .count = count_of(input.tensor, input.indices)});
  }
  for_each_table(entries, [&](const TensorTable<NormEntry>& table, int64_t first) {
    const int64_t pieces = table.num_pieces();
    const Tensor partial = Tensor::empty({pieces}, DType::float64, launch.device);
    launch(piece_squares_kernel, Grid{.blocks = pieces, .threads = element_threads}, table,
           partial.data<double>());
    launch(sum_pieces_kernel, Grid{.blocks = table.size, .threads = element_threads}, table,
           partial.data<double>(), result.data<double>() + first);
  });
}

/// Rows whose sum makes one partial result of a sum over rows.
constexpr int64_t rows_per_piece = 32;

/// Columns of a block whose warps share the terms of each column, one column for each lane.
constexpr int sum_columns = warp_size, sum_warps = max_warps;

/// finish(j, sum of term(i, j) over i in [0, count)) for each column j. Warp w of a block adds up the terms
/// w, w + 32, w + 64, ...; then the sums of the warps are added in their order.
template <typename Term, typename Finish>
__global__ void __launch_bounds__(sum_warps* warp_size)
    column_terms_kernel(int64_t count, int64_t columns, Term term, Finish finish) {
  __shared__ double warp_sums[sum_warps][sum_columns];
  const int warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const int64_t j = static_cast<int64_t>(blockIdx.x) * sum_columns + lane;
  double sum = 0;
  if (j < columns) {
    for (int64_t i = warp; i < count; i += sum_warps) sum += term(i, j);
  }
  warp_sums[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || j >= columns) return;
  double total = 0;
  for (int w = 0; w < sum_warps; ++w) total += warp_sums[w][lane];
  finish(j, static_cast<float>(total));
}

template <typename Launcher, typename Term, typename Finish>
void sum_column_terms(const Launcher& launch, int64_t count, int64_t columns, const Term& term,
                      const Finish& finish) {
  const Grid grid{.blocks = divide_up(columns, sum_columns), .threads = sum_warps * warp_size};
  launch(column_terms_kernel<Term, Finish>, grid, count, columns, term, finish);
}

/// finish(j, sum of partial[i, j] over i) for each column j of [rows, columns].
template <typename Launcher, typename Finish>
void sum_partial_rows(const Launcher& launch, const Tensor& partial, const Finish& finish) {
  const float* elements = floats(partial);
  const int64_t columns = partial.size(1);
  sum_column_terms(
      launch, partial.size(0), columns,
      [=] __device__(int64_t i, int64_t j) -> double {
        return static_cast<double>(elements[i * columns + j]);
      },
      finish);
}

/// Vectors that are the columns of one row of sums, side by side.
struct SideBySide {
  static constexpr int most = 3;

  int count = 0;
  float* vectors[most] = {};
  int64_t ends[most] = {};  // columns of the vectors up to and with this one

  int64_t columns() const { return count == 0 ? 0 : ends[count - 1]; }
  void add(float* vector, int64_t size) {
    ends[count] = columns() + size;
    vectors[count++] = vector;
  }
  __device__ void store(int64_t column, float value) const {
    int v = 0;
    while (ends[v] <= column) ++v;
    vectors[v][column - (v == 0 ? 0 : ends[v - 1])] = value;
  }
};

/// The sums of the columns of `partial`.
template <typename Launcher>
void sum_partial_rows(const Launcher& launch, const Tensor& partial, const SideBySide& results) {
  sum_partial_rows(launch, partial, [=] __device__(int64_t j, float sum) { results.store(j, sum); });
}

/// partial[piece, j] = sum of input[i, j] over the rows i of a piece; a thread has four columns.
template <typename T, typename Access>
__global__ void piece_column_sums_kernel(const T* input, int64_t rows, int64_t columns, int64_t ld,
                                         Access access, float* partial) {
  const int64_t begin = blockIdx.x * rows_per_piece;
  const int64_t end = begin + rows_per_piece < rows ? begin + rows_per_piece : rows;
  const int64_t first = 4 * (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x);
  const int64_t left = columns - first;
  if (left <= 0) return;
  Four sums{};
  for (int64_t i = begin; i < end; ++i) {
    const Four row = access.load(input + i * ld + first, left);
    for (int k = 0; k < 4; ++k) sums[k] += row[k];
  }
  access.store(partial + blockIdx.x * columns + first, sums, left);
}

template <typename Launcher>
void matrix_column_sums(const Launcher& launch, const MatrixRef& matrix, const SideBySide& results) {
  const int64_t rows = matrix.rows, columns = matrix.cols, ld = matrix.ld;
  const int64_t pieces = divide_up(rows, rows_per_piece);
  const Tensor partial = Tensor::empty({pieces, columns}, DType::float32, launch.device);
  const Grid grid{.blocks = pieces, .blocks_y = divide_up(columns, 4 * row_threads), .threads = row_threads};
  with_activation_type(matrix.dtype, [&]<typename T>(T) {
    const T* input = matrix.as<T>();
    with_access(four_access(ld, input, floats(partial)), columns, [&]<typename Access>(Access access) {
      launch(piece_column_sums_kernel<T, Access>, grid, input, rows, columns, ld, access, floats(partial));
    });
  });
  sum_partial_rows(launch, partial, results);
}

template <typename Launcher>
void column_sums(const Launcher& launch, const Backend::ColumnSums& args) {
  int64_t begin = 0;
  SideBySide results;
  const auto sum_and_clear = [&] {
    const int64_t end = begin + results.columns();
    matrix_column_sums(launch, args.input.columns(begin, end), results);
    begin = end;
    results = {};
  };
  for (const Tensor& output : args.outputs) {
    results.add(floats(output), output.numel());
    if (results.count == SideBySide::most) sum_and_clear();
  }
  if (results.count > 0) sum_and_clear();
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
