#pragma once

#include "cuda/data_movement.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

struct ScatterArguments {
  const float* grad_output;   // [num_rows, columns]
  const int32_t* index;       // [num_rows]
  const int32_t* cu_seqlens;  // of the examples whose sums are squared; null: plain sums
  float* grad_input;          // [num_input_rows, columns], zero where no row goes
  int64_t num_rows, columns, skip_index;
};

/// Whether no row before `row` has the index that it has, in every thread.
__device__ inline bool is_first_of_its_index(const int32_t* index, int64_t row) {
  int earlier = 0;
  for (int64_t i = threadIdx.x; i < row; i += blockDim.x) earlier += index[i] == index[row];
  return block_sum(earlier) == 0;
}

/// grad_input[v, :] = sum over the rows of index v, in their order; with cu_seqlens the sum over examples of
/// the squared sum over the rows of each.
///
/// Block i belongs to row i of grad_output. The block whose row is the first with its index adds up all rows
/// that have it, so that no two blocks meet in a row of grad_input, and nothing needs to be sorted or atomic.
/// Looking through the indices costs num_rows^2 comparisons, little beside the rows themselves.
__global__ void scatter_add_kernel(ScatterArguments args) {
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
    if (args.cu_seqlens != nullptr && i >= args.cu_seqlens[example + 1]) {
      add_example();
      while (i >= args.cu_seqlens[example + 1]) ++example;
    }
    const float* added = args.grad_output + i * args.columns;
    for (int64_t j = threadIdx.x; j < args.columns; j += blockDim.x) sum[j] += added[j];
  }
  if (args.cu_seqlens != nullptr) return add_example();
  for (int64_t j = threadIdx.x; j < args.columns; j += blockDim.x) total[j] = sum[j];
}

template <typename Launcher>
void scatter_rows(const Launcher& launch, const Tensor& grad_output, const Tensor& index,
                  const Tensor* cu_seqlens, const Tensor& grad_input, int64_t skip_index) {
  fill(launch, grad_input, 0);
  const int64_t columns = grad_input.shape().back();
  Grid grid = one_block_for_each(index.numel());
  grid.shared_bytes = columns * static_cast<int64_t>(sizeof(float));
  const ScatterArguments arguments{
      .grad_output = floats(grad_output),
      .index = index.data<int32_t>(),
      .cu_seqlens = cu_seqlens == nullptr ? nullptr : cu_seqlens->data<int32_t>(),
      .grad_input = floats(grad_input),
      .num_rows = index.numel(),
      .columns = columns,
      .skip_index = skip_index};
  launch(scatter_add_kernel, grid, arguments);
}

template <typename Launcher>
void scatter_add_rows(const Launcher& launch, const Backend::ScatterAddRows& args) {
  scatter_rows(launch, args.grad_output, args.index, nullptr, args.grad_input, args.skip_index);
}

template <typename Launcher>
void squared_scatter_add_rows(const Launcher& launch, const Backend::SquaredScatterAddRows& args) {
  scatter_rows(launch, args.grad_output, args.index, &args.cu_seqlens, args.grad_input, args.skip_index);
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
