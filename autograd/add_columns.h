#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Adds a narrower matrix to a range of columns: output[:, column : column + m] += delta, the other columns
/// as in base. This is how LoRA changes a third of a fused query/key/value product.
///
///   qkv = add_columns(std::move(qkv), query_delta, 0);
///
/// base    [rows, n]; given up by the caller (moved in, with no other user), its memory is used for the
/// output delta   [rows, m], same dtype and device return  [rows, n]
///
/// Saves nothing. Throws std::invalid_argument if shapes, dtypes or devices do not agree, or the columns
/// [column, column + m) are not in base.
Variable add_columns(Variable base, const Variable& delta, int64_t column);

}  // namespace normtune
