#pragma once

#include <cstdint>
#include <span>

#include "nn/bert.h"

namespace normtune {

/// The examples that one optimiser update learns from.
struct UpdateExamples {
  int64_t update = 0;  ///< counted from 0 over the whole run
  int64_t epoch = 0;   ///< that the update belongs to
  std::span<const int64_t> indices;
};

/// What a batch adds to an update.
struct BatchLoss {
  Variable loss;  ///< []
  int64_t num_tokens = 0;
  double flops = 0;  ///< of the matrix products that its step needs
};

/// What a training makes small: the loss of a classifier on its labels, of a language model on masked tokens.
class TrainingObjective {
 public:
  virtual ~TrainingObjective() = default;

  /// The share of `batch`, a run of consecutive examples of `update`, in the update's loss. That loss is a
  /// mean over the update (over its examples, or over its masked tokens) however it is cut into batches, so
  /// the shares add up to it. A pure function of its arguments.
  virtual BatchLoss loss(Bert& model, const UpdateExamples& update, std::span<const int64_t> batch,
                         const ForwardContext& context) const = 0;
};

}  // namespace normtune
