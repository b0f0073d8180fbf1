#pragma once

#include <optional>
#include <string>

#include "experiments/method.h"
#include "experiments/task_data.h"
#include "experiments/training_options.h"

namespace normtune {

/// Everything that `normtune finetune` can be told; names and defaults are those of the command line.
struct FinetuneOptions : TrainingOptions {
  TaskOptions task;
  MethodOptions method;
  std::optional<double> classifier_dropout;
  std::string metric_for_best_model;  ///< default: the task's
  bool save_unmerged = false;         ///< also write LoRA or LayerNorm deltas to peft/
  bool random_init = false;
  bool last_layer_cls_only = true;
};

/// Fine-tunes a model on a task and writes the output folder: model, logs, results, predictions, checkpoints.
///
/// The run is exact: a function of what its id hashes (options, data and model files). Killed at any moment
/// and resumed, it ends with the same bytes. SIGINT and SIGTERM finish the update under way, write a
/// checkpoint and return; a second one kills.
///
/// Throws Error(usage) for options that contradict each other or the model, Error(model), Error(data),
/// Error(write), and Error(numeric) for the first loss or gradient that is not finite.
TrainingResult finetune(const FinetuneOptions& options);

}  // namespace normtune
