#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Layer normalization over the last dimension (Ba et al. 2016, arXiv:1607.06450).
///
///   output = (input - mean) * rstd * weight + bias,   rstd = 1 / sqrt(variance + eps)
///
/// The variance is the biased one (divided by hidden_size).
///
/// input   [..., hidden_size]
/// weight  [hidden_size]        same dtype and device as input
/// bias    [hidden_size]        same dtype and device as input
/// return  [..., hidden_size]
///
/// Saves the normalized input, rstd [num_rows] and weight if input or weight requires a gradient. The input
/// itself is not kept.
/// Throws std::invalid_argument if the shapes, dtypes or devices do not agree.
Variable layer_norm(const Variable& input, const Variable& weight, const Variable& bias, double eps);

}  // namespace normtune
