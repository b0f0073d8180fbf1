#pragma once

#include <vector>

#include "autograd/variable.h"

namespace normtune {

/// Puts matrices side by side.
///
/// inputs  [rows, n_0], [rows, n_1], ...; at least one, same dtype and device
/// return  [rows, n_0 + n_1 + ...]
///
/// Saves nothing. Throws std::invalid_argument if the matrices do not agree.
Variable concat_columns(const std::vector<Variable>& inputs);

}  // namespace normtune
