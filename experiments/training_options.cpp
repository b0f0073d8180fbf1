#include "experiments/training_options.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "experiments/json_values.h"
#include "experiments/nearest_name.h"
#include "nn/lr_schedule.h"
#include "nn/optimizer.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

void require_option(bool fits, const char* option, const char* expected, double found) {
  if (!fits) fail(ErrorKind::usage, "--{}: expected {}, found {}", option, expected, found);
}

void require_positive_option(const char* option, int64_t value) {
  require_option(value > 0, option, "a positive number", static_cast<double>(value));
}

void require_share_option(const char* option, std::optional<double> value) {
  if (value) require_option(*value >= 0 && *value < 1, option, "a number from 0 to below 1", *value);
}

namespace {

void check_strategy(const char* option, const std::string& value) {
  const std::vector<std::string> names = {"epoch", "steps", "no"};
  if (std::find(names.begin(), names.end(), value) != names.end()) return;
  fail(ErrorKind::usage, "--{}: expected epoch, steps or no, found '{}'; nearest: {}", option, value,
       nearest_name(value, names));
}

void check_optimizer_options(const TrainingOptions& options) {
  require_option(std::isfinite(options.learning_rate) && options.learning_rate >= 0, "learning_rate",
                 "a number from 0", options.learning_rate);
  require_option(
      options.max_steps > 0 || (std::isfinite(options.num_train_epochs) && options.num_train_epochs > 0),
      "num_train_epochs", "a positive number", options.num_train_epochs);
  require_positive_option("per_device_train_batch_size", options.per_device_train_batch_size);
  require_positive_option("per_device_eval_batch_size", options.per_device_eval_batch_size);
  require_positive_option("gradient_accumulation_steps", options.gradient_accumulation_steps);
  require_option(std::isfinite(options.weight_decay) && options.weight_decay >= 0, "weight_decay",
                 "a number from 0", options.weight_decay);
  require_share_option("adam_beta1", options.adam_beta1);
  require_share_option("adam_beta2", options.adam_beta2);
  require_option(options.adam_epsilon >= 0, "adam_epsilon", "a number from 0", options.adam_epsilon);
  require_option(options.max_grad_norm >= 0, "max_grad_norm", "a number from 0 (0: no clipping)",
                 options.max_grad_norm);
  require_option(options.warmup_ratio >= 0 && options.warmup_ratio <= 1, "warmup_ratio",
                 "a number from 0 to 1", options.warmup_ratio);
  require_option(options.warmup_steps >= 0, "warmup_steps", "a number from 0",
                 static_cast<double>(options.warmup_steps));
  find_optimizer(options.optim);
  find_schedule(options.lr_scheduler_type);
}

void check_evaluation_options(const TrainingOptions& options) {
  check_strategy("eval_strategy", options.eval_strategy);
  check_strategy("save_strategy", options.save_strategy);
  require_positive_option("logging_steps", options.logging_steps);
  require_positive_option("save_steps", options.save_steps);
  if (options.eval_steps) require_positive_option("eval_steps", *options.eval_steps);
  require_option(options.save_total_limit >= 0, "save_total_limit", "a number from 0 (0: keep all)",
                 static_cast<double>(options.save_total_limit));
  if (options.early_stopping_patience)
    require_positive_option("early_stopping_patience", *options.early_stopping_patience);
  if (options.eval_strategy != "no") return;
  if (options.load_best_model_at_end)
    fail(ErrorKind::usage, "--load_best_model_at_end: expected --eval_strategy epoch or steps, found no");
  if (options.early_stopping_patience)
    fail(ErrorKind::usage, "--early_stopping_patience: expected --eval_strategy epoch or steps, found no");
}

}  // namespace

bool lies_in(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path inner = fs::weakly_canonical(path, error), outer = fs::weakly_canonical(folder, error);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

bool goes_on(const TrainingOptions& options) {
  return options.resume_from_checkpoint ||
         (!options.resume_from.empty() && lies_in(options.resume_from, options.output_dir));
}

void check_training_options(const TrainingOptions& options) {
  if (!options.resume_from.empty() && !fs::is_directory(options.resume_from)) {
    fail(ErrorKind::model,
         "--resume_from_checkpoint {}: there is no such folder; expected a checkpoint-N, or true",
         options.resume_from.string());
  }
  check_optimizer_options(options);
  check_evaluation_options(options);
  require_share_option("hidden_dropout_prob", options.hidden_dropout_prob);
  require_share_option("attention_probs_dropout_prob", options.attention_probs_dropout_prob);
}

void add_training_options(ordered_json& json, const TrainingOptions& options) {
  json["learning_rate"] = options.learning_rate;
  json["num_train_epochs"] = options.num_train_epochs;
  json["max_steps"] = options.max_steps;
  json["per_device_train_batch_size"] = options.per_device_train_batch_size;
  json["per_device_eval_batch_size"] = options.per_device_eval_batch_size;
  json["gradient_accumulation_steps"] = options.gradient_accumulation_steps;
  json["optim"] = options.optim;
  json["weight_decay"] = options.weight_decay;
  json["adam_beta1"] = options.adam_beta1;
  json["adam_beta2"] = options.adam_beta2;
  json["adam_epsilon"] = options.adam_epsilon;
  json["max_grad_norm"] = options.max_grad_norm;
  json["lr_scheduler_type"] = options.lr_scheduler_type;
  json["warmup_ratio"] = options.warmup_ratio;
  json["warmup_steps"] = options.warmup_steps;
  json["hidden_dropout_prob"] = or_null<ordered_json>(options.hidden_dropout_prob);
  json["attention_probs_dropout_prob"] = or_null<ordered_json>(options.attention_probs_dropout_prob);
  json["seed"] = options.seed;
  json["data_seed"] = options.data_seed.value_or(options.seed);
  json["init_seed"] = options.init_seed.value_or(options.seed);
  json["dropout_seed"] = options.dropout_seed.value_or(options.seed);
  json["shuffle"] = options.shuffle;
}

void add_evaluation_options(ordered_json& json, const TrainingOptions& options) {
  json["eval_strategy"] = options.eval_strategy;
  json["eval_steps"] = options.eval_steps.value_or(options.logging_steps);
  json["save_strategy"] = options.save_strategy;
  json["save_steps"] = options.save_steps;
  json["save_total_limit"] = options.save_total_limit;
  json["logging_steps"] = options.logging_steps;
  json["load_best_model_at_end"] = options.load_best_model_at_end;
  json["early_stopping_patience"] = or_null<ordered_json>(options.early_stopping_patience);
  json["overwrite_output_dir"] = options.overwrite_output_dir;
}

void add_device_options(ordered_json& json, const TrainingOptions& options) {
  json["device"] = to_string(options.device);
  json["precision"] = to_string(options.precision);
}

}  // namespace normtune
