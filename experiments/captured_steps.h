#pragma once

#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "experiments/training_objective.h"
#include "nn/optimizer.h"

namespace normtune {

/// Forward and backward of a batch as one piece of captured work (Backend::capture), for devices where
/// hundreds of launches would take the host longer than the device needs for a small batch. A step is
/// captured for each number of examples and of tokens (padded to buckets) that comes, and replayed for the
/// other batches of that shape, whose arrays are copied to where the first one's were.
class CapturedSteps {
 public:
  /// What the device has been asked for by run(); the parameters have their gradients. Valid until the next
  /// run().
  struct Outputs {
    Tensor loss;           ///< []
    Tensor squared_norms;  ///< see Optimizer::squared_gradient_norms()
  };

  /// Model, objective and optimiser must outlive this object.
  CapturedSteps(Bert& model, const TrainingObjective& objective, const Optimizer& optimizer, bool are_wanted)
      : model_(model), objective_(objective), optimizer_(optimizer), are_wanted_(are_wanted) {}

  /// Whether steps are captured: if they are wanted, the device captures work and the objective's batches
  /// allow it.
  bool are_on() const;
  /// Enqueues forward and backward of `batch`, made on the host with Padding::to_bucket, for parameters
  /// without gradients.
  Outputs run(const TrainingBatch& batch, const ForwardContext& context);

 private:
  /// Examples, tokens and scales.
  using Key = std::tuple<int64_t, int64_t, std::vector<double>>;
  struct Step {
    TrainingBatch batch;  // on the device
    Outputs outputs;
    std::vector<Tensor> gradients;  // in the order of the optimiser's tensors; undefined for none
    std::unique_ptr<CapturedWork> work;
  };

  Step& step_for(const TrainingBatch& batch, const ForwardContext& context);
  Step capture(const TrainingBatch& batch, const ForwardContext& context);

  Bert& model_;
  const TrainingObjective& objective_;
  const Optimizer& optimizer_;
  bool are_wanted_;
  Tensor dropout_keys_;  // of the current step, on the device
  std::map<Key, Step> steps_;
};

}  // namespace normtune
