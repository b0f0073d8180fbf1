#pragma once

#include "cuda/reductions.cuh"
#include "cuda/softmax.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

struct CrossEntropyArguments {
  const float* logits;    // [num_rows, num_classes]
  const int32_t* labels;  // [num_rows]
  float scale;
  double* row_losses;  // [num_rows], not scaled
  float* grad_logits;  // [num_rows, num_classes] or null
  int64_t num_classes;
};

/// A block has a row.
static __global__ void cross_entropy_kernel(CrossEntropyArguments args) {
  const int64_t row = blockIdx.x, at = row * args.num_classes;
  const int32_t label = args.labels[row];
  const float* logits = args.logits + at;
  const RowSums sums = label < 0 ? RowSums{0.f, 1.f} : softmax_sums(logits, args.num_classes);
  if (threadIdx.x == 0) {
    const double to_max = label < 0 ? 0 : static_cast<double>(sums.max) - static_cast<double>(logits[label]);
    args.row_losses[row] = ::log(static_cast<double>(sums.total)) + to_max;
  }
  if (args.grad_logits == nullptr) return;
  const float inverse = 1.f / sums.total;
  for (int64_t j = threadIdx.x; j < args.num_classes; j += blockDim.x) {
    const float prob = exponential(logits[j] - sums.max) * inverse;
    args.grad_logits[at + j] = label < 0 ? 0.f : args.scale * (prob - (j == label ? 1.f : 0.f));
  }
}

template <typename Launcher>
void cross_entropy(const Launcher& launch, const Backend::CrossEntropy& args) {
  const int64_t num_rows = args.logits.size(0);
  const Tensor row_losses = Tensor::empty({num_rows}, DType::float64, launch.device);
  const CrossEntropyArguments arguments{.logits = floats(args.logits),
                                        .labels = args.labels.data<int32_t>(),
                                        .scale = static_cast<float>(args.scale),
                                        .row_losses = row_losses.data<double>(),
                                        .grad_logits = floats(args.grad_logits),
                                        .num_classes = args.logits.size(1)};
  launch(cross_entropy_kernel, one_block_for_each(num_rows), arguments);
  float* loss = floats(args.loss);
  const double scale = args.scale;
  finish_sum(launch, row_losses.data<double>(), num_rows,
             [=] __device__(double total) { loss[0] = static_cast<float>(total * scale); });
}

template <typename Launcher>
void squared_error(const Launcher& launch, const Backend::SquaredError& args) {
  const float *predictions = floats(args.predictions), *targets = floats(args.targets);
  float *loss = floats(args.loss), *grad = floats(args.grad_predictions);
  const double scale = args.scale;
  sum_terms(
      launch, args.predictions.numel(),
      [=] __device__(int64_t i) -> double {
        const double difference = static_cast<double>(predictions[i]) - static_cast<double>(targets[i]);
        if (grad != nullptr) grad[i] = static_cast<float>(2 * difference * scale);
        return difference * difference;
      },
      [=] __device__(double total) { loss[0] = static_cast<float>(total * scale); });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
