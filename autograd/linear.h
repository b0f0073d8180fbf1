#pragma once

#include <memory>
#include <vector>

#include "autograd/variable.h"

namespace normtune {

/// Affine map, output = input weight^T + bias.
///
/// input   [rows, in_features]
/// weight  [out_features, in_features]   same dtype and device as input
/// bias    [out_features], or undefined
/// return  [rows, out_features]
///
/// Saves the input if weight requires a gradient, and weight if the input does: with a frozen weight no
/// activation is kept. A trainable weight beside an input in bfloat16 is rounded once, and the copy saved.
/// Throws std::invalid_argument if shapes, dtypes or devices do not agree.
Variable linear(const Variable& input, const Variable& weight, const Variable& bias);

/// Several affine maps of one input side by side (query, key and value):
/// output = input [W_0; W_1; ...]^T + [b_0, b_1, ...].
///
/// input    [rows, in_features]
/// weights  [out_0, in_features], [out_1, in_features], ...
/// biases   [out_0], [out_1], ...; any of them undefined
/// return   [rows, out_0 + out_1 + ...]
///
/// Weights that are adjacent row slices of one storage are multiplied as one matrix; others one by one.
/// Each trainable weight and bias gets a gradient of its own, the others cost nothing. Saves the input if
/// some weight requires a gradient, and the weights if the input does. Throws std::invalid_argument if
/// shapes, dtypes or devices do not agree.
Variable linear(const Variable& input, const std::vector<Variable>& weights,
                const std::vector<Variable>& biases);

/// Which products of a linear layer; those of backward read the weights transposed.
enum class Pass { forward, backward };

/// Lets the backend keep the weights of linear(input, weights, ...), which must be frozen, in the form that
/// it multiplies by (Backend::hold_constant) in the products of one pass. As long as the returned object
/// lives, their elements must not change. Null if the backend has no such form, or if the weights are not
/// multiplied as one matrix.
std::shared_ptr<const void> hold_constant_weights(const std::vector<Variable>& weights, Pass pass);

}  // namespace normtune
