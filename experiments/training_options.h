#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "experiments/progress.h"
#include "tensor/device.h"
#include "tensor/precision.h"

namespace normtune {

/// What every training can be told; names and defaults are those of the command line.
struct TrainingOptions {
  std::filesystem::path model_name_or_path;
  std::filesystem::path output_dir;
  int64_t max_seq_length = 128;

  // Optimiser and schedule.
  double learning_rate = 5e-5;
  double num_train_epochs = 3;
  int64_t max_steps = -1;  ///< positive: wins over num_train_epochs
  /// Minutes. Positive: training ends after this time, evaluations and saving included, and the schedule goes
  /// by the share of it that has passed.
  double time_limit = 0;
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
  std::optional<int64_t> early_stopping_patience;

  // The output folder.
  bool overwrite_output_dir = false;
  /// Continue the run in the output folder from its latest checkpoint (from the start if there is none), or
  /// from the checkpoint folder `resume_from`.
  bool resume_from_checkpoint = false;
  std::filesystem::path resume_from;

  // Model.
  std::optional<double> hidden_dropout_prob, attention_probs_dropout_prob;

  // Randomness. The three default to `seed`.
  uint64_t seed = 42;
  std::optional<uint64_t> data_seed, init_seed, dropout_seed;
  bool shuffle = true;

  Device device;
  bool cuda_graphs = true;  ///< steps on a CUDA device are captured, see CapturedSteps
  Precision precision = Precision::fp32;
  /// Where progress, the load report and warnings go.
  ProgressOutput progress = {.quiet = true};
};

struct TrainingResult {
  /// SIGINT or SIGTERM if that stopped the run (its checkpoint is written), else 0.
  int interrupted_by = 0;
  std::filesystem::path checkpoint;  ///< where an interrupted run can be resumed
  std::string all_results_json;      ///< the content of all_results.json; empty for an interrupted run
};

/// Whether `path` is `folder` or lies in it.
bool lies_in(const std::filesystem::path& path, const std::filesystem::path& folder);

/// The run in the output folder is continued, rather than one begun there.
bool goes_on(const TrainingOptions& options);

/// Throws Error(usage), naming the option, for values out of range and options that contradict each other.
void check_training_options(const TrainingOptions& options);

/// Adds optimiser, schedule, dropout and seeds by their names on the command line, defaults filled in.
void add_training_options(nlohmann::ordered_json& json, const TrainingOptions& options);
/// The same for evaluation, logging and saving.
void add_evaluation_options(nlohmann::ordered_json& json, const TrainingOptions& options);
/// The device and the precision.
void add_device_options(nlohmann::ordered_json& json, const TrainingOptions& options);

/// Throws Error(usage) naming `option` unless `fits`.
void require_option(bool fits, const char* option, const char* expected, double found);
void require_positive_option(const char* option, int64_t value);
/// The same for a value, where it is given, outside [0, 1).
void require_share_option(const char* option, std::optional<double> value);

}  // namespace normtune
