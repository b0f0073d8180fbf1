#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Sum of all elements, in a fixed order.
///
/// input   [...]
/// return  []
///
/// Saves nothing.
Variable sum(const Variable& input);

/// Mean of all elements: scale(sum(input), 1 / numel).
///
/// input   [...], not empty
/// return  []
///
/// Saves nothing. Throws std::invalid_argument if there are no elements.
Variable mean(const Variable& input);

}  // namespace normtune
