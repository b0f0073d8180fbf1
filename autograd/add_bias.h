#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Adds a vector to each row, output[i, :] = input[i, :] + bias.
///
/// input   [..., n]
/// bias    [n]       same dtype and device as input
/// return  [..., n]
///
/// Saves nothing. Throws std::invalid_argument if shapes, dtypes or devices do not agree.
Variable add_bias(const Variable& input, const Variable& bias);

}  // namespace normtune
