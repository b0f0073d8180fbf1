#pragma once

#include "autograd/variable.h"

namespace normtune {

/// The same elements under another shape; shares the storage of the input.
///
/// input   [...]
/// shape   as many elements
/// return  shape
///
/// Saves nothing. Throws std::invalid_argument if the number of elements differs.
Variable reshape(const Variable& input, const Shape& shape);

}  // namespace normtune
