#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace normtune {

/// One tokenised sequence and the index of its example in its data set (which keys its dropout masks).
struct TokenizedExample {
  std::span<const int32_t> input_ids;
  std::span<const int32_t> token_type_ids;
  int64_t example_id = 0;
};

/// Whether inert tokens follow those of a batch. On devices that replay captured steps they do, so that
/// batches of nearly the same size have the same shapes.
enum class Padding { none, to_bucket };

/// The number of tokens that a batch is padded to: the next multiple of 1/16 of the power of two below, and
/// of 32. So at most one token in 16 is inert in batches of 512 and more, one in 32 on the average.
int64_t bucket_size(int64_t total_tokens);

/// Sequences laid end to end, without padding: sequence s owns the rows [cu_seqlens[s], cu_seqlens[s + 1]) of
/// every token-wise tensor. Row cu_seqlens[s] is its [CLS].
///
/// Padding::to_bucket appends a further sequence, perhaps empty, that is no example: it goes through all
/// kernels, but nothing asks for its [CLS], so that no result depends on it and all its gradients are zero.
struct PackedBatch {
  int64_t batch_size = 0;
  int64_t total_tokens = 0;  // inert ones included
  Tensor input_ids;          // [total_tokens] int32
  Tensor token_type_ids;     // [total_tokens] int32
  Tensor position_ids;       // [total_tokens] int32, 0, 1, ... in each sequence
  Tensor example_ids;        // [total_tokens] int64
  Tensor cu_seqlens;         // [batch_size + 1] int32; one more with Padding::to_bucket

  Tensor cls_rows;         // [batch_size] int32, the row of each [CLS]
  Tensor cls_positions;    // [batch_size] int32, all 0
  Tensor cls_example_ids;  // [batch_size] int64
  Tensor cls_cu_seqlens;   // like cu_seqlens: 0, 1, ..., batch_size, for queries of [CLS] alone
};

/// Packs at least one sequence, none of them empty. Throws std::invalid_argument otherwise.
PackedBatch pack(std::span<const TokenizedExample> examples, Device device = {},
                 Padding padding = Padding::none);

}  // namespace normtune
