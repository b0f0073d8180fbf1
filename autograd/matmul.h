#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Matrix product, output = op(a) op(b), where op transposes if asked.
///
/// a       [m, k], or [k, m] with transpose_a
/// b       [k, n], or [n, k] with transpose_b; same dtype and device as a
/// return  [m, n]
///
/// Saves b if a requires a gradient, and a if b does. Throws std::invalid_argument if the operands do not
/// agree.
Variable matmul(const Variable& a, const Variable& b, bool transpose_a = false, bool transpose_b = false);

}  // namespace normtune
