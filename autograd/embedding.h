#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Looks rows up in a table, output[i, :] = weight[ids[i], :].
///
/// weight       [num_embeddings, embedding_size]
/// ids          [m] int32, each in [0, num_embeddings)
/// padding_idx  a row that gets no gradient; -1: none
/// return       [m, embedding_size]
///
/// Saves ids. Throws std::invalid_argument if shapes, dtypes, devices or ids do not fit.
Variable embedding(const Variable& weight, const Tensor& ids, int64_t padding_idx = -1);

}  // namespace normtune
