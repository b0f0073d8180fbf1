#pragma once

#include <cstdint>

namespace normtune {

enum class AdamWVariant {
  torch,  ///< decay first; eps outside the bias-corrected root
  hf,     ///< eps before the bias correction; decay last
  bert,   ///< as hf, without bias correction
};

/// The rule of one AdamW variant (formats: torch, hf, bert).
struct AdamWRule {
  AdamWVariant variant = AdamWVariant::torch;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};

/// The numbers of one AdamW update that are the same for all elements of a tensor. With them the three
/// variants of the rule have one form:
///   p *= decay_before;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   p -= step_size * m / (sqrt(v) * root_scale + eps);  p *= decay_after
struct AdamWFactors {
  double beta1, beta2, eps;
  double step_size, root_scale;
  double decay_before, decay_after;
};

/// `step` is 1 at the first update.
AdamWFactors adamw_factors(const AdamWRule& rule, double lr, double weight_decay, int64_t step);

}  // namespace normtune
