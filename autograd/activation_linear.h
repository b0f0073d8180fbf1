#pragma once

#include "autograd/variable.h"

namespace normtune {

/// The second half of a feed-forward block, output = f(input) weight^T + bias: linear(activation(input,
/// kind), weight, bias) without keeping f(input).
///
/// input   [rows, in_features], before the activation
/// weight  [out_features, in_features]   same dtype and device as input
/// bias    [out_features], or undefined
/// return  [rows, out_features]
///
/// Saves the input if the weight requires a gradient, for which f(input) is recomputed; f'(input) if only the
/// input requires one (Backend::derivative_dtype() says in what); and weight if the input does, rounded as by
/// linear(). Writes f(input) over an input that the caller gives away (std::move) and nobody needs any more.
/// Throws std::invalid_argument if shapes, dtypes or devices do not agree.
Variable activation_linear(Variable input, Activation kind, const Variable& weight, const Variable& bias);

}  // namespace normtune
