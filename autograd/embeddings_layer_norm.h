#pragma once

#include "autograd/variable.h"

namespace normtune {

/// The embedding block of BERT:
///
///   sum = word_weight[ids] + position_weight[position_ids] + token_type_weight[token_type_ids]
///   output = dropout(layer_norm(sum, weight, bias, eps), mask)
///
/// word_weight        [vocab_size, hidden_size]
/// position_weight    [max_position_embeddings, hidden_size]
/// token_type_weight  [type_vocab_size, hidden_size]
/// ids, position_ids, token_type_ids  [rows] int32, in the range of their table
/// weight, bias       [hidden_size]
/// padding_idx        a row of word_weight that gets no gradient; -1: none
/// return             [rows, hidden_size]
///
/// Saves the normalized sum, rstd [rows] and weight if a table or weight requires a gradient, the ids of the
/// trainable tables, and the mask's ids and positions.
/// Throws std::invalid_argument if shapes, dtypes, devices or ids do not fit.
Variable embeddings_layer_norm(const Variable& word_weight, const Variable& position_weight,
                               const Variable& token_type_weight, const Tensor& ids,
                               const Tensor& position_ids, const Tensor& token_type_ids,
                               const Variable& weight, const Variable& bias, double eps,
                               const DropoutMask& mask, int64_t padding_idx);

}  // namespace normtune
