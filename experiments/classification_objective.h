#pragma once

#include "experiments/tokenized_dataset.h"
#include "experiments/training_objective.h"

namespace normtune {

/// The mean over the examples of cross-entropy, or of the squared error for a regression.
class ClassificationObjective final : public TrainingObjective {
 public:
  /// `data` must outlive the objective.
  explicit ClassificationObjective(const TokenizedDataset& data) : data_(data) {}

  TrainingBatch batch(Bert& model, const UpdateExamples& update, std::span<const int64_t> indices,
                      const BatchForm& form) const override;
  Variable loss(Bert& model, const TrainingBatch& batch, const ForwardContext& context) const override;
  bool repeats_shapes() const override { return true; }

 private:
  const TokenizedDataset& data_;
};

}  // namespace normtune
