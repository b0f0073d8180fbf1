#pragma once

#include "autograd/variable.h"

namespace normtune {

/// What low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) adds to a linear map, in the columns that are
/// the map's among those of a larger output:
///   output[:, column : column + m] = base[:, column : column + m] + scaling * input A^T B^T,
/// the other columns as in base.
///
///   qkv = low_rank_update(std::move(qkv), hidden_states, query_A, query_B, alpha / r, 0);
///
/// base    [rows, n]; given up by the caller (moved in, with no other user): the output takes its memory
/// input   [rows, k], same dtype and device as base
/// lora_A  [r, k]
/// lora_B  [m, r]
/// return  [rows, n]
///
/// Neither forward nor, where input has other users, backward makes a matrix of the update's size: products
/// are added where their sums belong. Saves the input if A requires a gradient, scaling * input A^T if B
/// does, B if A or the input does, and A if the input does. Throws std::invalid_argument if shapes, dtypes or
/// devices do not agree, or the columns [column, column + m) are not in base.
Variable low_rank_update(Variable base, const Variable& input, const Variable& lora_A, const Variable& lora_B,
                         double scaling, int64_t column);

}  // namespace normtune
