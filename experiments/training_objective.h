#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/bert.h"

namespace normtune {

/// The examples that one optimiser update learns from.
struct UpdateExamples {
  int64_t update = 0;  ///< counted from 0 over the whole run
  int64_t epoch = 0;   ///< that the update belongs to
  std::span<const int64_t> indices;
};

/// What a batch brings to the model and the loss.
struct TrainingBatch {
  PackedBatch packed;
  std::vector<Tensor> targets;  ///< what the loss compares with, as its objective knows
  std::vector<double> scales;   ///< of the terms of the loss
  int64_t num_tokens = 0;       ///< of examples
  double flops = 0;             ///< of the matrix products that its step needs
};

/// Where the arrays of a batch are made, and how many.
struct BatchForm {
  Device device;
  Padding padding = Padding::none;
};

/// What a training makes small: the loss of a classifier on its labels, of a language model on masked tokens.
class TrainingObjective {
 public:
  virtual ~TrainingObjective() = default;

  /// The batch of `indices`, a run of consecutive examples of `update`. A pure function of its arguments.
  virtual TrainingBatch batch(Bert& model, const UpdateExamples& update, std::span<const int64_t> indices,
                              const BatchForm& form) const = 0;
  /// The share of a batch, [], in the update's loss. That loss is a mean over the update (over its examples,
  /// or over its masked tokens) however it is cut into batches, so the shares add up to it.
  virtual Variable loss(Bert& model, const TrainingBatch& batch, const ForwardContext& context) const = 0;
  /// Whether batches of the same size have the same shapes and scales, so that a captured step serves for
  /// many.
  virtual bool repeats_shapes() const = 0;
};

}  // namespace normtune
