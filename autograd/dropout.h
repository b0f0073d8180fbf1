#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Dropout (Srivastava et al. 2014): zeroes each element with mask.probability and scales the others by
/// 1 / (1 - probability). With an inactive mask the result is the same variable, not a copy.
///
/// input   [num_rows, columns]
/// mask    example_ids [num_rows] int64 and positions [num_rows] int32: which elements fall is a function of
///         these, the key and the column
/// return  [num_rows, columns]
///
/// Saves the mask's ids and positions; the mask itself is recomputed in backward.
/// Throws std::invalid_argument if the mask does not fit the input, or its probability is not below 1.
Variable dropout(const Variable& input, const DropoutMask& mask);

}  // namespace normtune
