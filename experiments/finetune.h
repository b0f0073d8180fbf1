#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "experiments/method.h"
#include "experiments/progress.h"
#include "experiments/task_data.h"
#include "tensor/device.h"
#include "tensor/dtype.h"

namespace normtune {

/// Everything that `normtune finetune` can be told; names and defaults are those of the command line.
struct FinetuneOptions {
  std::filesystem::path model_name_or_path;
  std::filesystem::path output_dir;
  TaskOptions task;
  int64_t max_seq_length = 128;
  MethodOptions method;

  // Optimiser and schedule.
  double learning_rate = 5e-5;
  double num_train_epochs = 3;
  int64_t max_steps = -1;  ///< positive: wins over num_train_epochs
  int64_t per_device_train_batch_size = 8;
  int64_t per_device_eval_batch_size = 8;
  int64_t gradient_accumulation_steps = 1;
  std::string optim = "adamw_torch";
  double weight_decay = 0;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double max_grad_norm = 1;  ///< 0: no clipping
  std::string lr_scheduler_type = "linear";
  double warmup_ratio = 0;
  int64_t warmup_steps = 0;  ///< positive: wins over warmup_ratio

  // Evaluation, logging, saving.
  std::string eval_strategy = "epoch";  ///< epoch, steps or no
  std::optional<int64_t> eval_steps;    ///< default: logging_steps
  std::string save_strategy = "epoch";  ///< epoch, steps or no
  int64_t save_steps = 500;
  int64_t save_total_limit = 1;  ///< 0: keep all
  int64_t logging_steps = 10;
  bool load_best_model_at_end = false;
  std::string metric_for_best_model;  ///< default: the task's
  std::optional<int64_t> early_stopping_patience;

  // The output folder.
  bool overwrite_output_dir = false;
  /// Continue the run in the output folder from its latest checkpoint (from the start if there is none), or
  /// from the checkpoint folder `resume_from`.
  bool resume_from_checkpoint = false;
  std::filesystem::path resume_from;
  bool save_unmerged = false;  ///< also write LoRA or LayerNorm deltas to peft/

  // Model.
  std::optional<double> hidden_dropout_prob, attention_probs_dropout_prob, classifier_dropout;
  bool random_init = false;
  bool last_layer_cls_only = true;

  // Randomness. The three default to `seed`.
  uint64_t seed = 42;
  std::optional<uint64_t> data_seed, init_seed, dropout_seed;
  bool shuffle = true;

  Device device;
  DType precision = DType::float32;  ///< float32 or float64
  /// Where progress, the load report and warnings go.
  ProgressOutput progress = {.quiet = true};
};

struct FinetuneResult {
  /// SIGINT or SIGTERM if that stopped the run (its checkpoint is written), else 0.
  int interrupted_by = 0;
  std::filesystem::path checkpoint;  ///< where an interrupted run can be resumed
  std::string all_results_json;      ///< the content of all_results.json; empty for an interrupted run
};

/// Fine-tunes a model on a task and writes the output folder: model, logs, results, predictions, checkpoints.
///
/// The run is exact: a function of what its id hashes (options, data and model files). Killed at any moment
/// and resumed, it ends with the same bytes. SIGINT and SIGTERM finish the update under way, write a
/// checkpoint and return; a second one kills.
///
/// Throws Error(usage) for options that contradict each other or the model, Error(model), Error(data),
/// Error(write), and Error(numeric) for the first loss or gradient that is not finite.
FinetuneResult finetune(const FinetuneOptions& options);

}  // namespace normtune
