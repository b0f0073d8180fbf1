#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Element-wise product, output = a * b.
///
/// a, b    [...], the same shape, dtype and device
/// return  [...]
///
/// Saves b if a requires a gradient, and a if b does. Throws std::invalid_argument if the operands do not
/// agree.
Variable multiply(const Variable& a, const Variable& b);

}  // namespace normtune
