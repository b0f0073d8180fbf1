#include "experiments/update_numbers.h"

namespace normtune {

namespace {

/// [] float64, see Backend::clipping_factor.
Tensor clipping_factor(const UpdateNumbers& numbers, double max_norm) {
  Tensor factor = Tensor::empty({}, DType::float64, numbers.losses.device());
  factor.backend().clipping_factor({.squared_norms = numbers.squared_norms,
                                    .losses = numbers.losses,
                                    .max_norm = max_norm,
                                    .factor = factor});
  return factor;
}

}  // namespace

UpdateNumbers clip_and_move(Optimizer& optimizer, const Tensor& losses, double max_grad_norm) {
  UpdateNumbers numbers{.losses = losses,
                        .squared_norms = optimizer.squared_gradient_norms(),
                        .names = optimizer.names_with_gradient()};
  optimizer.move(clipping_factor(numbers, max_grad_norm));
  optimizer.zero_grad();
  return numbers;
}

}  // namespace normtune
