#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/variable.h"

namespace normtune {

/// The tolerances of PyTorch's gradcheck, and the seed of the reduction's random weights.
struct GradcheckOptions {
  double eps = 1e-6;
  double atol = 1e-5;
  double rtol = 1e-3;
  uint64_t seed = 0;
};

struct GradcheckResult {
  bool passed = true;
  std::string message;  // what differs first: subset, input, element, both values
  explicit operator bool() const { return passed; }
};

/// Compares backward() with central differences,
///
///   df/dx ~ (f(x + eps) - f(x - eps)) / (2 eps),   f(x) = sum of function(x) * random weights,
///
/// for every element of every input. A plain sum would hide errors (the gradient of softmax(x).sum() is zero
/// whatever the code does). Repeats backward() for every subset of inputs that require a gradient: the inputs
/// outside get none, and the others get what they got when all inputs required one (within 1e-12). No input
/// may be changed by the op.
///
/// inputs  float64, at least one; each is an input with a derivative of `function`
///
/// Throws std::invalid_argument if an input is not float64.
GradcheckResult gradcheck(const std::function<Variable(const std::vector<Variable>&)>& function,
                          const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

}  // namespace normtune
