#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Copies the columns [begin, end) of a matrix.
///
/// input   [rows, n]
/// return  [rows, end - begin]
///
/// The gradient is zero in the other columns. Saves nothing.
/// Throws std::invalid_argument unless 0 <= begin < end <= n.
Variable slice_columns(const Variable& input, int64_t begin, int64_t end);

}  // namespace normtune
