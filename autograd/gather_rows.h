#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Selects rows, output[i, :] = input[index[i], :]; also the way to take a slice of rows, or the [CLS]
/// tokens.
///
/// input   [n, c]
/// index   [m] int32, each in [0, n); may repeat
/// return  [m, c]
///
/// The gradient of row r of the input is the sum of the gradients of the rows i with index[i] == r; rows with
/// index[i] == skip_index contribute nothing.
/// Saves index. Throws std::invalid_argument if shapes, dtypes, devices or indices do not fit.
Variable gather_rows(const Variable& input, const Tensor& index, int64_t skip_index = -1);

}  // namespace normtune
