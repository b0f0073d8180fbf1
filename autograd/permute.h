#pragma once

#include <vector>

#include "autograd/variable.h"

namespace normtune {

/// Copies with permuted dimensions: dimension i of the output is dimension order[i] of the input. Tensors
/// have no strides, so this is never a view.
///
///   permute(hidden_states, {1, 0, 2});  // [tokens, heads, d] -> [heads, tokens, d]
///
/// input   [s_0, ..., s_k]
/// order   each of 0 ... k once
/// return  [s_order[0], ..., s_order[k]]
///
/// Saves nothing. Throws std::invalid_argument if `order` is not a permutation of the dimensions.
Variable permute(const Variable& input, std::vector<int> order);

}  // namespace normtune
