#include "tensor/adamw_factors.h"

#include <cmath>
#include <cstring>

#include "tensor/backend.h"

namespace normtune {

AdamWFactors adamw_factors(const AdamWRule& rule, double lr, double weight_decay, int64_t step) {
  AdamWFactors factors{.beta1 = rule.beta1,
                       .beta2 = rule.beta2,
                       .eps = rule.eps,
                       .step_size = lr,
                       .root_scale = 1,
                       .decay_before = 1,
                       .decay_after = 1};
  const auto t = static_cast<double>(step);
  const double correction1 = 1 - std::pow(rule.beta1, t);
  const double root_correction2 = std::sqrt(1 - std::pow(rule.beta2, t));
  const double decay = 1 - lr * weight_decay;
  switch (rule.variant) {
    case AdamWVariant::torch:
      factors.decay_before = decay;
      factors.step_size = lr / correction1;
      factors.root_scale = 1 / root_correction2;
      break;
    case AdamWVariant::hf:
      factors.step_size = lr * root_correction2 / correction1;
      factors.decay_after = decay;
      break;
    case AdamWVariant::bert:
      factors.decay_after = decay;
      break;
  }
  return factors;
}

Tensor to_tensor(const std::vector<AdamWFactors>& factors) {
  constexpr int64_t count = sizeof(AdamWFactors) / sizeof(double);
  Tensor tensor = Tensor::empty({static_cast<int64_t>(factors.size()), count}, DType::float64);
  std::memcpy(tensor.raw_data(), factors.data(), tensor.nbytes());
  return tensor;
}

}  // namespace normtune
