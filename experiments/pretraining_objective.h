#pragma once

#include <span>
#include <vector>

#include "experiments/masking.h"
#include "experiments/pretraining_data.h"
#include "experiments/training_objective.h"

namespace normtune {

/// Masked examples as the model takes them.
struct PretrainingBatch {
  PackedBatch packed;
  Tensor masked_rows;           ///< [num_masked] int32, rows of the packed tokens
  Tensor masked_labels;         ///< [num_masked] int32
  Tensor next_sentence_labels;  ///< [batch_size] int32, -1 where there is no pair
  int64_t num_masked = 0, num_pairs = 0;
};

/// `indices` are those of the examples in their data set.
PretrainingBatch make_pretraining_batch(std::span<const MaskedExample> examples,
                                        std::span<const int64_t> indices, Device device);

/// Masked language modelling and next-sentence prediction (Devlin et al. 2018, arXiv:1810.04805):
///
///   loss = mean over the masked tokens of -log p(token) + mean over the pairs of -log p(label)
///
/// The vocabulary's logits are computed for the masked tokens only.
class PretrainingObjective final : public TrainingObjective {
 public:
  /// `data` and `masking` must outlive the objective.
  PretrainingObjective(const PretrainingDataset& data, const Masking& masking)
      : data_(data), masking_(masking) {}

  TrainingBatch batch(Bert& model, const UpdateExamples& update, std::span<const int64_t> indices,
                      const BatchForm& form) const override;
  Variable loss(Bert& model, const TrainingBatch& batch, const ForwardContext& context) const override;
  bool repeats_shapes() const override { return false; }  // as many masked tokens as the dice say

 private:
  std::vector<MaskedExample> masked_examples(int64_t epoch, std::span<const int64_t> indices) const;

  const PretrainingDataset& data_;
  const Masking& masking_;
};

}  // namespace normtune
