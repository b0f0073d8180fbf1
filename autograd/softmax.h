#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Softmax over the last dimension, output[j] = exp(input[j]) / sum over k of exp(input[k]), computed after
/// the row's maximum is subtracted.
///
/// input   [..., n]
/// return  [..., n]
///
/// Saves the output. Throws std::invalid_argument for a scalar.
Variable softmax(const Variable& input);

}  // namespace normtune
