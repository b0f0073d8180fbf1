#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Element-wise sum, output = a + b.
///
/// a, b    [...], the same shape, dtype and device
/// return  [...]
///
/// Saves nothing. Throws std::invalid_argument if the operands do not agree.
Variable add(const Variable& a, const Variable& b);

}  // namespace normtune
