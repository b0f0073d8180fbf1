#pragma once

#include "cuda/data_movement.cuh"
#include "cuda/reductions.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// order[k] = the row of the k-th smallest (index, row): rows sorted by their index, those of the same index
/// in their own order. A thread counts what comes before its row: num_rows^2 comparisons, which for the
/// thousands of rows of a batch cost less than the passes of a cleverer sort.
static __global__ void sort_rows_kernel(const int32_t* index, int64_t num_rows, int32_t* order) {
  __shared__ int32_t tile[element_threads];
  const int64_t row = global_thread();
  const int32_t own = row < num_rows ? index[row] : 0;
  int64_t rank = 0;
  for (int64_t begin = 0; begin < num_rows; begin += element_threads) {
    const int64_t left = num_rows - begin, count = left < element_threads ? left : element_threads;
    __syncthreads();  // nobody still reads the last tile
    if (threadIdx.x < count) tile[threadIdx.x] = index[begin + threadIdx.x];
    __syncthreads();
    for (int64_t i = 0; i < count; ++i) rank += tile[i] < own || (tile[i] == own && begin + i < row);
  }
  if (row < num_rows) order[rank] = static_cast<int32_t>(row);
}

/// Rows in the order of their index, cut into pieces of rows_per_piece. A run is the rows of one index.
template <typename T>
struct ScatterArguments {
  const T* grad_output;  // [num_rows, columns]
  const int32_t* index;  // [num_rows]
  const int32_t* order;  // [num_rows]
  T* grad_input;         // [num_input_rows, columns], zero where no row goes
  float* partial;        // [pieces, 2, columns]
  int64_t num_rows, columns, skip_index;

  __device__ int32_t index_at(int64_t k) const { return index[order[k]]; }
  __device__ bool run_goes_on(int64_t k) const { return k + 1 < num_rows && index_at(k + 1) == index_at(k); }
  __device__ int64_t piece_end(int64_t piece) const {
    const int64_t end = (piece + 1) * rows_per_piece;
    return end < num_rows ? end : num_rows;
  }
  /// What a piece adds to a run that began in an earlier one, and to one that goes on in the next.
  __device__ float& of_earlier_run(int64_t piece, int64_t j) const {
    return partial[2 * piece * columns + j];
  }
  __device__ float& of_open_run(int64_t piece, int64_t j) const {
    return partial[(2 * piece + 1) * columns + j];
  }
  __device__ void finish(int32_t row, int64_t j, float sum) const {
    if (row != skip_index) grad_input[row * columns + j] = rounded<T>(sum);
  }
};

/// Adds up the runs of a piece, in the order of its rows; a thread has a column.
template <typename T>
__global__ void sum_runs_kernel(ScatterArguments<T> args) {
  const int64_t piece = blockIdx.x, begin = piece * rows_per_piece, end = args.piece_end(piece);
  const int64_t j = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (j >= args.columns) return;
  bool began_earlier = begin > 0 && args.run_goes_on(begin - 1);
  float sum = 0;
  for (int64_t k = begin; k < end; ++k) {
    sum += static_cast<float>(args.grad_output[args.order[k] * args.columns + j]);
    const bool goes_on = args.run_goes_on(k);
    if (goes_on && k + 1 < end) continue;
    if (began_earlier) {
      args.of_earlier_run(piece, j) = sum;
    } else if (goes_on) {
      args.of_open_run(piece, j) = sum;
    } else {
      args.finish(args.index_at(k), j, sum);
    }
    began_earlier = false;
    sum = 0;
  }
}

/// Adds up the parts of the run that goes on at the end of a piece, if it began in that piece.
template <typename T>
__global__ void join_runs_kernel(ScatterArguments<T> args) {
  const int64_t piece = blockIdx.x, begin = piece * rows_per_piece, last = args.piece_end(piece) - 1;
  const int64_t j = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (j >= args.columns || !args.run_goes_on(last)) return;
  const int32_t row = args.index_at(last);
  if (begin > 0 && args.index_at(begin - 1) == row) return;
  double sum = static_cast<double>(args.of_open_run(piece, j));
  for (int64_t next = piece + 1;; ++next) {
    sum += static_cast<double>(args.of_earlier_run(next, j));
    const int64_t end = args.piece_end(next);
    if (args.index_at(end - 1) != row || !args.run_goes_on(end - 1)) break;
  }
  args.finish(row, j, static_cast<float>(sum));
}

template <typename Launcher>
void scatter_add_rows(const Launcher& launch, const Backend::ScatterAddRows& args) {
  fill(launch, args.grad_input, 0);
  const int64_t num_rows = args.index.numel(), columns = args.grad_input.shape().back();
  const int64_t pieces = divide_up(num_rows, rows_per_piece);
  const Tensor order = Tensor::empty({num_rows}, DType::int32, launch.device);
  const Tensor partial = Tensor::empty({pieces, 2, columns}, DType::float32, launch.device);
  launch(sort_rows_kernel, one_thread_for_each(num_rows), args.index.data<int32_t>(), num_rows,
         order.data<int32_t>());
  const Grid grid{.blocks = pieces, .blocks_y = divide_up(columns, row_threads), .threads = row_threads};
  with_activation_type(args.grad_input.dtype(), [&]<typename T>(T) {
    const ScatterArguments<T> arguments{.grad_output = args.grad_output.data<T>(),
                                        .index = args.index.data<int32_t>(),
                                        .order = order.data<int32_t>(),
                                        .grad_input = args.grad_input.data<T>(),
                                        .partial = floats(partial),
                                        .num_rows = num_rows,
                                        .columns = columns,
                                        .skip_index = args.skip_index};
    launch(sum_runs_kernel<T>, grid, arguments);
    launch(join_runs_kernel<T>, grid, arguments);
  });
}

struct SquaredScatterArguments {
  const float* grad_output;   // [num_rows, columns]
  const int32_t* index;       // [num_rows]
  const int32_t* cu_seqlens;  // of the examples
  float* grad_input;          // [num_input_rows, columns], zero where no row goes
  int64_t num_rows, columns, skip_index;
};

/// Whether no row before `row` has the index that it has, in every thread.
__device__ inline bool is_first_of_its_index(const int32_t* index, int64_t row) {
  int earlier = 0;
  for (int64_t i = threadIdx.x; i < row; i += blockDim.x) earlier += index[i] == index[row];
  return block_sum(earlier) == 0;
}

/// grad_input[v, :] = sum over examples of the squared sum over the rows of index v of each, in their order.
///
/// Block i belongs to row i of grad_output. The block whose row is the first with its index adds up all rows
/// that have it, so that no two blocks meet in a row of grad_input.
static __global__ void squared_scatter_kernel(SquaredScatterArguments args) {
  const int64_t row = blockIdx.x;
  const int32_t own_index = args.index[row];
  if (own_index == args.skip_index || !is_first_of_its_index(args.index, row)) return;
  float* sum = dynamic_shared();  // [columns], each element seen by one thread alone
  float* total = args.grad_input + own_index * args.columns;
  for (int64_t j = threadIdx.x; j < args.columns; j += blockDim.x) sum[j] = 0.f;
  const auto add_example = [&] {
    for (int64_t j = threadIdx.x; j < args.columns; j += blockDim.x) {
      total[j] += sum[j] * sum[j];
      sum[j] = 0.f;
    }
  };
  int64_t example = 0;
  for (int64_t i = row; i < args.num_rows; ++i) {
    if (args.index[i] != own_index) continue;
    if (i >= args.cu_seqlens[example + 1]) {
      add_example();
      while (i >= args.cu_seqlens[example + 1]) ++example;
    }
    const float* added = args.grad_output + i * args.columns;
    for (int64_t j = threadIdx.x; j < args.columns; j += blockDim.x) sum[j] += added[j];
  }
  add_example();
}

template <typename Launcher>
void squared_scatter_add_rows(const Launcher& launch, const Backend::SquaredScatterAddRows& args) {
  fill(launch, args.grad_input, 0);
  const int64_t columns = args.grad_input.shape().back();
  Grid grid = one_block_for_each(args.index.numel());
  grid.shared_bytes = columns * static_cast<int64_t>(sizeof(float));
  const SquaredScatterArguments arguments{.grad_output = floats(args.grad_output),
                                          .index = args.index.data<int32_t>(),
                                          .cu_seqlens = args.cu_seqlens.data<int32_t>(),
                                          .grad_input = floats(args.grad_input),
                                          .num_rows = args.index.numel(),
                                          .columns = columns,
                                          .skip_index = args.skip_index};
  launch(squared_scatter_kernel, grid, arguments);
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
