#pragma once

#include "cuda/elementwise.cuh"

// A block has a row.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// Maximum, and sum of exp(x - maximum), of a row, in every thread.
struct RowSums {
  float max, total;
};

__device__ inline RowSums softmax_sums(const float* row, int64_t columns) {
  float max = -INFINITY;
  for (int64_t j = threadIdx.x; j < columns; j += blockDim.x) max = larger(max, row[j]);
  max = block_max(max);
  float total = 0;
  for (int64_t j = threadIdx.x; j < columns; j += blockDim.x) total += exponential(row[j] - max);
  return {max, block_sum(total)};
}

static __global__ void softmax_forward_kernel(const float* input, float* output, int64_t columns) {
  const int64_t at = blockIdx.x * columns;
  const RowSums sums = softmax_sums(input + at, columns);
  const float inverse = 1.f / sums.total;
  for (int64_t j = threadIdx.x; j < columns; j += blockDim.x) {
    output[at + j] = exponential(input[at + j] - sums.max) * inverse;
  }
}

/// grad_input = probs * (grad_output - sum of probs * grad_output); grad_input may be grad_output.
static __global__ void softmax_backward_kernel(const float* probs, const float* grad_output,
                                               float* grad_input, int64_t columns) {
  const int64_t at = blockIdx.x * columns;
  float dot = 0;
  for (int64_t j = threadIdx.x; j < columns; j += blockDim.x) dot += probs[at + j] * grad_output[at + j];
  dot = block_sum(dot);
  for (int64_t j = threadIdx.x; j < columns; j += blockDim.x) {
    grad_input[at + j] = probs[at + j] * (grad_output[at + j] - dot);
  }
}

template <typename Launcher>
void softmax_forward(const Launcher& launch, const Tensor& input, const Tensor& output) {
  const MatrixRef rows(input);
  if (rows.cols == 0) return;
  launch(softmax_forward_kernel, one_block_for_each(rows.rows), floats(input), floats(output), rows.cols);
}

template <typename Launcher>
void softmax_backward(const Launcher& launch, const Tensor& output, const Tensor& grad_output,
                      const Tensor& grad_input) {
  const MatrixRef rows(output);
  if (rows.cols == 0) return;
  launch(softmax_backward_kernel, one_block_for_each(rows.rows), floats(output), floats(grad_output),
         floats(grad_input), rows.cols);
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
