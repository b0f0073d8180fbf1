#pragma once

#include "cuda/tensor_table.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// A tensor of an AdamW update. With `indices` the elements are the listed ones, whose moments lie at their
/// place in the list.
struct AdamWEntry {
  float *parameter, *first_moment, *second_moment;
  const float* gradient;
  const int64_t* indices;  // or null
  int64_t count;
  AdamWScalars<float> scalars;
};

template <typename Launcher>
void adamw_step(const Launcher& launch, const Backend::AdamWStep& args) {
  std::vector<AdamWEntry> entries;
  for (const Backend::AdamWTensor& tensor : args.tensors) {
    entries.push_back({.parameter = floats(tensor.parameter),
                       .first_moment = floats(tensor.first_moment),
                       .second_moment = floats(tensor.second_moment),
                       .gradient = floats(tensor.gradient),
                       .indices = int64s(tensor.indices),
                       .count = tensor.first_moment.numel(),
                       .scalars = adamw_scalars<float>(adamw_factors(args, tensor.weight_decay))});
  }
  const auto* gradient_scale = args.gradient_scale.data<double>();
  for_each_element_of(launch, entries, [=] __device__(const AdamWEntry& tensor, int64_t i) {
    const auto scale = static_cast<float>(*gradient_scale);
    if (!is_finite(scale)) return;
    const int64_t at = tensor.indices == nullptr ? i : tensor.indices[i];
    adamw_element(tensor.parameter[at], tensor.gradient[at], scale, tensor.first_moment[i],
                  tensor.second_moment[i], tensor.scalars);
  });
}

struct SgdEntry {
  float* parameter;
  const float* gradient;
  const int64_t* indices;  // or null
  int64_t count;
  float weight_decay;
};

template <typename Launcher>
void sgd_step(const Launcher& launch, const Backend::SgdStep& args) {
  std::vector<SgdEntry> entries;
  for (const Backend::SgdTensor& tensor : args.tensors) {
    entries.push_back({.parameter = floats(tensor.parameter),
                       .gradient = floats(tensor.gradient),
                       .indices = int64s(tensor.indices),
                       .count = count_of(tensor.parameter, tensor.indices),
                       .weight_decay = static_cast<float>(tensor.weight_decay)});
  }
  const auto lr = static_cast<float>(args.lr);
  const auto* gradient_scale = args.gradient_scale.data<double>();
  for_each_element_of(launch, entries, [=] __device__(const SgdEntry& tensor, int64_t i) {
    const auto scale = static_cast<float>(*gradient_scale);
    if (!is_finite(scale)) return;
    const int64_t at = tensor.indices == nullptr ? i : tensor.indices[i];
    sgd_element(tensor.parameter[at], tensor.gradient[at], lr, tensor.weight_decay, scale);
  });
}

/// One block.
static __global__ void clipping_factor_kernel(const double* squared_norms, int64_t num_norms,
                                              const float* losses, int64_t num_losses, double max_norm,
                                              double* factor) {
  Sums<2> sums{};
  for (int64_t i = threadIdx.x; i < num_norms; i += blockDim.x) sums[0] += squared_norms[i];
  for (int64_t i = threadIdx.x; i < num_losses; i += blockDim.x) sums[1] += static_cast<double>(losses[i]);
  sums = block_sum(sums);
  // A sum of floats in double is finite where all of them are.
  if (threadIdx.x == 0) *factor = clipping_factor(sums[0], is_finite(sums[1]), max_norm);
}

template <typename Launcher>
void clipping_factor(const Launcher& launch, const Backend::ClippingFactor& args) {
  launch(clipping_factor_kernel, Grid{.blocks = 1, .threads = element_threads},
         args.squared_norms.data<double>(), args.squared_norms.numel(), floats(args.losses),
         args.losses.numel(), args.max_norm, args.factor.data<double>());
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
