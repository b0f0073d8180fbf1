#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Multi-head scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762) over packed sequences,
/// sequence by sequence and head by head, with d = hidden_size / num_heads:
///
///   context = dropout(softmax(query key^T / sqrt(d))) value
///
/// query             [num_queries, hidden_size]
/// key_value         [total_tokens, 2 * hidden_size]: the key columns, then the value columns
/// query_cu_seqlens  [batch + 1] int32: sequence s asks with the rows [query_cu_seqlens[s],
///                   query_cu_seqlens[s + 1]) of query
/// cu_seqlens        [batch + 1] int32: and owns the rows [cu_seqlens[s], cu_seqlens[s + 1]) of key_value
/// mask              example_ids and positions [num_queries] of the query rows; drops attention probabilities
/// return            [num_queries, hidden_size]
///
/// Saves query, key_value, the logarithms of the softmax denominators [num_queries, num_heads], the sequence
/// bounds and the mask's ids and positions; the probabilities are recomputed.
/// Throws std::invalid_argument if shapes, dtypes, devices or bounds do not fit.
Variable packed_attention(const Variable& query, const Variable& key_value, const Tensor& query_cu_seqlens,
                          const Tensor& cu_seqlens, int64_t num_heads, const DropoutMask& mask);

/// packed_attention where every token asks, from one fused product.
///
/// qkv         [total_tokens, 3 * hidden_size]: the query, key and value columns
/// cu_seqlens  [batch + 1] int32, bounds of the sequences
/// mask        example_ids and positions [total_tokens]
/// return      [total_tokens, hidden_size]
///
/// Saves qkv and the logarithms of the softmax denominators [total_tokens, num_heads], the bounds and the
/// mask's ids and positions.
/// Throws std::invalid_argument if shapes, dtypes, devices or bounds do not fit.
Variable packed_self_attention(const Variable& qkv, const Tensor& cu_seqlens, int64_t num_heads,
                               const DropoutMask& mask);

}  // namespace normtune
