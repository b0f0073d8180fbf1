#pragma once

#include <cstdint>

#include "experiments/captured_steps.h"
#include "experiments/training_objective.h"
#include "nn/optimizer.h"

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

/// One optimiser step on the examples of `update`, `settings.batch_size` of them at a time. The gradient is
/// clipped as PyTorch's clip_grad_norm_ does: times min(1, max_grad_norm / (norm + 1e-6)), the norm taken
/// over all trainable elements. The number of the update keys the dropout masks. Throws Error(numeric),
/// before anything moves, if the loss or a gradient is not finite; the message names the step (update + 1),
/// the tensor and the examples. An update of one batch is one of the `captured` steps, if these are on.
UpdateResult run_update(Bert& model, const TrainingObjective& objective, Optimizer& optimizer,
                        const UpdateExamples& update, double lr, const UpdateSettings& settings,
                        CapturedSteps* captured = nullptr);

/// Throws Error(numeric), naming the step and the tensor, if a trained value is no longer finite: such a
/// model is not worth evaluating, and must not replace a good checkpoint.
void check_trained_values(const Optimizer& optimizer, int64_t step);

}  // namespace normtune
