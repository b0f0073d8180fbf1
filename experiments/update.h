#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "experiments/captured_steps.h"
#include "experiments/training_objective.h"
#include "nn/optimizer.h"
#include "tensor/copies_on_host.h"

namespace normtune {

struct UpdateSettings {
  int64_t batch_size = 8;    ///< examples that go through the model at once
  double max_grad_norm = 1;  ///< 0: no clipping
  uint64_t dropout_seed = 42;
};

struct UpdateResult {
  double loss = 0;           ///< a mean over the update, see TrainingObjective
  double gradient_norm = 0;  ///< before clipping
  int64_t num_tokens = 0;
  double flops = 0;  ///< of the matrix products needed
};

/// An update that the device has been asked for and may still be working on. Model and optimiser must outlive
/// it.
class EnqueuedUpdate {
 public:
  /// For enqueue_update(). `work` has what is known of the result by then.
  EnqueuedUpdate(const Bert& model, const UpdateExamples& update, int64_t batch_size,
                 const UpdateNumbers& numbers, const UpdateResult& work);

  /// Whether finish() would not wait.
  bool is_done() const { return numbers_.are_there(); }
  /// Waits for loss and norm. Throws Error(numeric) if the loss or a gradient is not finite; the message
  /// names the step (update + 1), the tensor and the examples. Such an update has moved nothing.
  UpdateResult finish() const;

 private:
  const Bert* model_;
  CopiesOnHost numbers_;
  std::vector<std::string_view> names_;  // see UpdateNumbers
  std::vector<int64_t> examples_;
  int64_t batch_size_, update_;
  UpdateResult work_;
};

/// One optimiser step on the examples of `update`, `settings.batch_size` of them at a time. The gradient is
/// clipped as PyTorch's clip_grad_norm_ does: times min(1, max_grad_norm / (norm + 1e-6)), the norm taken
/// over all trainable elements. The number of the update keys the dropout masks. The update is one of the
/// `captured` steps, if these are on. The host waits for nothing.
EnqueuedUpdate enqueue_update(Bert& model, const TrainingObjective& objective, Optimizer& optimizer,
                              const UpdateExamples& update, double lr, const UpdateSettings& settings,
                              CapturedSteps* captured = nullptr);

/// Throws Error(numeric), naming the step and the tensor, if a trained value is no longer finite: such a
/// model is not worth evaluating, and must not replace a good checkpoint.
void check_trained_values(const Optimizer& optimizer, int64_t step);

}  // namespace normtune
