#include "tensor/adamw_factors.h"

#include <cmath>

#include "tensor/backend.h"

namespace normtune {

AdamWFactors adamw_factors(const Backend::AdamWStep& args, double weight_decay) {
  AdamWFactors factors{.beta1 = args.beta1,
                       .beta2 = args.beta2,
                       .eps = args.eps,
                       .step_size = args.lr,
                       .root_scale = 1,
                       .decay_before = 1,
                       .decay_after = 1};
  const auto step = static_cast<double>(args.step);
  const double correction1 = 1 - std::pow(args.beta1, step);
  const double root_correction2 = std::sqrt(1 - std::pow(args.beta2, step));
  const double decay = 1 - args.lr * weight_decay;
  switch (args.variant) {
    case AdamWVariant::torch:
      factors.decay_before = decay;
      factors.step_size = args.lr / correction1;
      factors.root_scale = 1 / root_correction2;
      break;
    case AdamWVariant::hf:
      factors.step_size = args.lr * root_correction2 / correction1;
      factors.decay_after = decay;
      break;
    case AdamWVariant::bert:
      factors.decay_after = decay;
      break;
  }
  return factors;
}

}  // namespace normtune
