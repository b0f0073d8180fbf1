#pragma once

#include "cuda/elementwise.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// A thread has an element; with `indices` it is the listed one, whose moments lie at the place in the list.
template <typename Launcher>
void adamw_step(const Launcher& launch, const Backend::AdamWStep& args) {
  float *parameter = floats(args.parameter), *gradient = floats(args.gradient);
  float *first = floats(args.first_moment), *second = floats(args.second_moment);
  const int64_t* indices = args.indices == nullptr ? nullptr : args.indices->data<int64_t>();
  const AdamWScalars<float> scalars = adamw_scalars<float>(adamw_factors(args));
  for_each_element(launch, args.first_moment.numel(), [=] __device__(int64_t i) {
    const int64_t at = indices == nullptr ? i : indices[i];
    adamw_element(parameter[at], gradient[at], first[i], second[i], scalars);
  });
}

template <typename Launcher>
void sgd_step(const Launcher& launch, const Backend::SgdStep& args) {
  float *parameter = floats(args.parameter), *gradient = floats(args.gradient);
  const int64_t* indices = args.indices == nullptr ? nullptr : args.indices->data<int64_t>();
  const int64_t count = indices == nullptr ? args.parameter.numel() : args.indices->numel();
  const auto lr = static_cast<float>(args.lr), weight_decay = static_cast<float>(args.weight_decay);
  const auto gradient_scale = static_cast<float>(args.gradient_scale);
  for_each_element(launch, count, [=] __device__(int64_t i) {
    const int64_t at = indices == nullptr ? i : indices[i];
    sgd_element(parameter[at], gradient[at], lr, weight_decay, gradient_scale);
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
