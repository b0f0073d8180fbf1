#pragma once

#include "cuda/dropout.cuh"
#include "cuda/reductions.cuh"

// A block has a row, a thread has groups of four channels of it. What a thread wrote it alone reads again, so
// that outputs may lie where inputs do.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

struct LayerNormForwardArguments {
  const float *input, *residual, *weight, *bias;  // residual may be null
  DropoutArguments mask;
  double eps;
  float *output, *normalized, *rstd;  // the last two may be null
  int64_t hidden_size;
};

/// output = dropout(input) + residual for one row.
__device__ inline void sum_row(const LayerNormForwardArguments& args, int64_t row) {
  const int64_t at = row * args.hidden_size;
  float* output = args.output + at;
  if (args.mask.active()) drop_row(args.input + at, args.mask, row, output, args.hidden_size);
  const float* input = args.mask.active() ? output : args.input + at;
  for_own_channels(args.hidden_size, [&](int64_t first, int64_t end) {
    for (int64_t j = first; j < end; ++j) {
      output[j] = args.residual == nullptr ? input[j] : input[j] + args.residual[at + j];
    }
  });
}

/// Statistics of the values from which the row's first element is subtracted. Sums are taken in double: a
/// variance near 1e60 (values around 1e30) has no place in a float.
struct RowStatistics {
  float first, mean, rstd;

  __device__ float normalize(float value) const { return ((value - first) - mean) * rstd; }
};

__device__ inline RowStatistics row_statistics(const float* sum, int64_t hidden_size, double eps) {
  const float first = block_broadcast(threadIdx.x == 0 ? sum[0] : 0.f);
  double total = 0;
  for_own_channels(hidden_size, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) total += static_cast<double>(sum[j] - first);
  });
  const double mean = block_sum(total) / static_cast<double>(hidden_size);
  double squares = 0;
  for_own_channels(hidden_size, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const double centered = static_cast<double>(sum[j] - first) - mean;
      squares += centered * centered;
    }
  });
  const double variance = block_sum(squares) / static_cast<double>(hidden_size);
  return {first, static_cast<float>(mean), static_cast<float>(1 / square_root(variance + eps))};
}

__global__ void layer_norm_forward_kernel(LayerNormForwardArguments args) {
  const int64_t row = blockIdx.x, at = row * args.hidden_size;
  sum_row(args, row);
  float* output = args.output + at;
  const RowStatistics statistics = row_statistics(output, args.hidden_size, args.eps);
  for_own_channels(args.hidden_size, [&](int64_t first, int64_t end) {
    for (int64_t j = first; j < end; ++j) {
      const float value = statistics.normalize(output[j]);
      if (args.normalized != nullptr) args.normalized[at + j] = value;
      output[j] = value * args.weight[j] + args.bias[j];
    }
  });
  if (args.rstd != nullptr && threadIdx.x == 0) args.rstd[row] = statistics.rstd;
}

template <typename Launcher>
void layer_norm_forward(const Launcher& launch, const Backend::LayerNormForward& args) {
  const int64_t hidden_size = args.weight.numel();
  const LayerNormForwardArguments arguments{.input = floats(args.input),
                                            .residual = floats(args.residual),
                                            .weight = floats(args.weight),
                                            .bias = floats(args.bias),
                                            .mask = dropout_arguments(args.mask),
                                            .eps = args.eps,
                                            .output = floats(args.output),
                                            .normalized = floats(args.normalized),
                                            .rstd = floats(args.rstd),
                                            .hidden_size = hidden_size};
  launch(layer_norm_forward_kernel, one_block_for_each(args.input.numel() / hidden_size), arguments);
}

struct LayerNormBackwardArguments {
  const float *grad_output, *normalized, *rstd, *weight;
  DropoutArguments mask;
  float *grad_input, *grad_residual;  // one of them may be null
  int64_t hidden_size;
};

/// With g = grad_output * weight and n = normalized:  grad_sum = rstd * (g - mean(g) - n * mean(g * n))
__global__ void layer_norm_backward_kernel(LayerNormBackwardArguments args) {
  const int64_t row = blockIdx.x, at = row * args.hidden_size;
  const float *grad_output = args.grad_output + at, *normalized = args.normalized + at;
  float* grad_sum = (args.grad_residual != nullptr ? args.grad_residual : args.grad_input) + at;
  double sum_g = 0, sum_g_normalized = 0;
  for_own_channels(args.hidden_size, [&](int64_t first, int64_t end) {
    for (int64_t j = first; j < end; ++j) {
      const float g = grad_output[j] * args.weight[j];
      sum_g += static_cast<double>(g);
      sum_g_normalized += static_cast<double>(g * normalized[j]);
    }
  });
  const auto n = static_cast<double>(args.hidden_size);
  const auto mean_g = static_cast<float>(block_sum(sum_g) / n);
  const auto mean_g_normalized = static_cast<float>(block_sum(sum_g_normalized) / n);
  const float rstd = args.rstd[row];
  for_own_channels(args.hidden_size, [&](int64_t first, int64_t end) {
    for (int64_t j = first; j < end; ++j) {
      grad_sum[j] = rstd * (grad_output[j] * args.weight[j] - mean_g - normalized[j] * mean_g_normalized);
    }
  });
  if (args.grad_input == nullptr) return;
  float* grad_input = args.grad_input + at;
  if (args.mask.active()) {
    drop_row(grad_sum, args.mask, row, grad_input, args.hidden_size);
  } else if (grad_input != grad_sum) {
    for_own_channels(args.hidden_size, [&](int64_t first, int64_t end) {
      for (int64_t j = first; j < end; ++j) grad_input[j] = grad_sum[j];
    });
  }
}

template <typename Launcher>
void layer_norm_backward(const Launcher& launch, const Backend::LayerNormBackward& args) {
  const int64_t hidden_size = args.weight.numel(), num_rows = args.grad_output.numel() / hidden_size;
  const float *grad_output = floats(args.grad_output), *normalized = floats(args.normalized);
  // The column sums come first: the other gradients may be written over grad_output.
  if (args.grad_weight != nullptr) {
    sum_columns(
        launch, num_rows, hidden_size,
        [=] __device__(int64_t i, int64_t j) -> float {
          return grad_output[i * hidden_size + j] * normalized[i * hidden_size + j];
        },
        floats(args.grad_weight));
  }
  if (args.grad_bias != nullptr) {
    sum_columns(
        launch, num_rows, hidden_size,
        [=] __device__(int64_t i, int64_t j) -> float { return grad_output[i * hidden_size + j]; },
        floats(args.grad_bias));
  }
  if (args.grad_input == nullptr && args.grad_residual == nullptr) return;
  const LayerNormBackwardArguments arguments{.grad_output = grad_output,
                                             .normalized = normalized,
                                             .rstd = floats(args.rstd),
                                             .weight = floats(args.weight),
                                             .mask = dropout_arguments(args.mask),
                                             .grad_input = floats(args.grad_input),
                                             .grad_residual = floats(args.grad_residual),
                                             .hidden_size = hidden_size};
  launch(layer_norm_backward_kernel, one_block_for_each(num_rows), arguments);
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
