#pragma once

#include "autograd/variable.h"

namespace normtune {

/// The same values in another floating-point dtype, rounded where it is narrower; the input itself if it has
/// the dtype already.
///
/// input   [...]
/// return  [...]
///
/// Saves nothing.
Variable convert(const Variable& input, DType dtype);

}  // namespace normtune
