#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Product with a constant, output = factor * input.
///
/// input   [...]
/// return  [...]
///
/// Saves nothing.
Variable scale(const Variable& input, double factor);

}  // namespace normtune
