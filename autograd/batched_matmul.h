#pragma once

#include "autograd/variable.h"

namespace normtune {

/// One matrix product for each leading index, output[i] = op(a[i]) op(b[i]), where op transposes if asked.
///
/// a       [batch, m, k], or [batch, k, m] with transpose_a
/// b       [batch, k, n], or [batch, n, k] with transpose_b; same dtype and device as a
/// return  [batch, m, n]
///
/// Saves b if a requires a gradient, and a if b does. Throws std::invalid_argument if the operands do not
/// agree.
Variable batched_matmul(const Variable& a, const Variable& b, bool transpose_a = false,
                        bool transpose_b = false);

}  // namespace normtune
