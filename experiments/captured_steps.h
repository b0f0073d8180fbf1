#pragma once

#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "experiments/training_objective.h"
#include "experiments/update_numbers.h"

namespace normtune {

/// Updates of one batch, from forward to the optimiser, as one piece of captured work (Backend::capture), for
/// devices where hundreds of launches would take the host longer than the device needs for a small batch. The
/// first batch with some numbers of examples and of tokens (padded to buckets) is a rehearsal. The second is
/// captured, and that step replayed for it and all other batches of the shape, whose arrays are copied to
/// where the first one's were.
class CapturedSteps {
 public:
  /// Model, objective and optimiser must outlive this object.
  CapturedSteps(Bert& model, const TrainingObjective& objective, Optimizer& optimizer, bool are_wanted)
      : model_(model), objective_(objective), optimizer_(optimizer), are_wanted_(are_wanted) {}

  /// Whether steps are captured: if they are wanted, the device captures work and the objective's batches
  /// allow it.
  bool are_on() const;
  /// Enqueues forward and backward of `batch`, made on the host with Padding::to_bucket, and clip_and_move(),
  /// for a step that the optimiser has begun. The numbers are valid until the next run().
  const UpdateNumbers& run(const TrainingBatch& batch, const ForwardContext& context, double max_grad_norm);

 private:
  /// Examples, tokens and scales of the batch, and max_grad_norm.
  using Key = std::tuple<int64_t, int64_t, std::vector<double>, double>;
  struct Step {
    TrainingBatch batch;  // on the device
    UpdateNumbers numbers;
    std::unique_ptr<CapturedWork> work;  // null before the second batch
  };

  /// Forward, backward and clip_and_move().
  void enqueue(Step& step, const ForwardContext& context, double max_grad_norm);

  Bert& model_;
  const TrainingObjective& objective_;
  Optimizer& optimizer_;
  bool are_wanted_;
  Tensor dropout_keys_;  // of the current step, on the device
  std::map<Key, Step> steps_;
};

}  // namespace normtune
