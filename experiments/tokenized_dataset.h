#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "experiments/dataset.h"
#include "nn/packed_batch.h"
#include "nn/tokenizer.h"

namespace normtune {

/// The sentences of a data set as token ids, with their labels: all that training and evaluation read. Holds
/// four bytes per token: token types are one step from 0 to 1, so every example borrows a stretch of the same
/// 0 .. 0 1 .. 1.
class TokenizedDataset {
 public:
  /// Encodes every example, cut to `max_seq_length` tokens, on all threads. The result does not depend on
  /// their number.
  TokenizedDataset(const Dataset& dataset, const Tokenizer& tokenizer, int64_t max_seq_length);

  int64_t size() const { return static_cast<int64_t>(labels_.size()); }
  int64_t total_tokens() const { return static_cast<int64_t>(input_ids_.size()); }
  int64_t max_length() const { return max_length_; }
  bool regression() const { return regression_; }
  /// Some example has two texts, hence tokens of type 1.
  bool has_pairs() const { return has_pairs_; }

  /// Example `index`, which is also its example_id. Valid as long as this object.
  TokenizedExample example(int64_t index) const;
  /// Numbers of tokens of some examples.
  std::vector<int64_t> lengths(std::span<const int64_t> indices) const;
  PackedBatch batch(std::span<const int64_t> indices, Device device = {},
                    Padding padding = Padding::none) const;
  /// What a batch should give: classes [batch_size] int32, or scores [batch_size] of `dtype` for a
  /// regression.
  Tensor labels(std::span<const int64_t> indices, DType dtype, Device device = {}) const;

 private:
  void append(const Encoding& encoding);
  void make_token_types();

  std::vector<int32_t> input_ids_;             // of all examples, end to end
  std::vector<int64_t> begin_{0};              // [size + 1], where each example begins in input_ids_
  std::vector<int32_t> first_segment_length_;  // [size], tokens of type 0
  std::vector<int32_t> token_types_;           // max_length_ zeros, max_length_ ones
  std::vector<int32_t> labels_;                // [size]
  std::vector<double> targets_;                // [size]
  int64_t max_length_ = 0;
  bool regression_ = false;
  bool has_pairs_ = false;
};

}  // namespace normtune
