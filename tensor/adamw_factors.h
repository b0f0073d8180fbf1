#pragma once

namespace normtune {

/// The numbers of one AdamW update that are the same for all elements of a tensor. With them the three
/// variants of the rule have one form:
///   p *= decay_before;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   p -= step_size * m / (sqrt(v) * root_scale + eps);  p *= decay_after
struct AdamWFactors {
  double beta1, beta2, eps;
  double step_size, root_scale;
  double decay_before, decay_after;
};

}  // namespace normtune
