#pragma once

#include "autograd/variable.h"

namespace normtune {

/// The end of each half of a BERT block, layer_norm(dropout(input, mask) + residual, weight, bias, eps), in
/// one pass.
///
/// input     [num_rows, hidden_size]
/// residual  [num_rows, hidden_size]   same dtype and device as input
/// mask      of input; see dropout
/// weight    [hidden_size]
/// bias      [hidden_size]
/// return    [num_rows, hidden_size]
///
/// Saves the normalized sum, rstd [num_rows] and weight if input, residual or weight requires a gradient, and
/// the mask's ids and positions if input does. Neither input nor residual is kept.
/// Throws std::invalid_argument if shapes, dtypes or devices do not agree.
Variable dropout_residual_layer_norm(const Variable& input, const Variable& residual, const Variable& weight,
                                     const Variable& bias, double eps, const DropoutMask& mask);

}  // namespace normtune
