#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Applies an element-wise function, output = f(input).
///
///   relu       max(x, 0)
///   gelu       x Phi(x), Phi the distribution function of the standard normal (Hendrycks & Gimpel 2016,
///              arXiv:1606.08415): what `hidden_act: "gelu"` means
///   gelu_tanh  its approximation 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))): `gelu_new`
///   tanh       tanh(x)
///   silu       x / (1 + exp(-x)), also called swish
///
/// input   [...]
/// return  [...]
///
/// Saves the input.
Variable activation(const Variable& input, Activation kind);

Variable relu(const Variable& input);       ///< activation(input, Activation::relu)
Variable gelu(const Variable& input);       ///< activation(input, Activation::gelu), the exact form
Variable gelu_tanh(const Variable& input);  ///< activation(input, Activation::gelu_tanh)
Variable tanh(const Variable& input);       ///< activation(input, Activation::tanh)
Variable silu(const Variable& input);       ///< activation(input, Activation::silu)

}  // namespace normtune
