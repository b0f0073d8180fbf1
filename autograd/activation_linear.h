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
/// Saves the input if input or weight requires a gradient (f(input) is recomputed for the weight's), and
/// weight if the input does, rounded as by linear(). Throws std::invalid_argument if shapes, dtypes or
/// devices do not agree.
Variable activation_linear(const Variable& input, Activation kind, const Variable& weight,
                           const Variable& bias);

}  // namespace normtune
