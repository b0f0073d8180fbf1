#include "experiments/finetune_options.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/nearest_name.h"
#include "nn/lr_schedule.h"
#include "nn/optimizer.h"
#include "nn/sha256.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

// ---- Checks

template <typename T>
void require(bool fits, const char* option, const char* expected, const T& found) {
  if (!fits) fail(ErrorKind::usage, "--{}: expected {}, found {}", option, expected, found);
}

void require_positive(const char* option, int64_t value) {
  require(value > 0, option, "a positive number", value);
}

void require_share(const char* option, std::optional<double> value) {
  if (value) require(*value >= 0 && *value < 1, option, "a number from 0 to below 1", *value);
}

void check_strategy(const char* option, const std::string& value) {
  const std::vector<std::string> names = {"epoch", "steps", "no"};
  if (std::find(names.begin(), names.end(), value) != names.end()) return;
  fail(ErrorKind::usage, "--{}: expected epoch, steps or no, found '{}'; nearest: {}", option, value,
       nearest_name(value, names));
}

void check_training_options(const FinetuneOptions& options) {
  require(std::isfinite(options.learning_rate) && options.learning_rate >= 0, "learning_rate",
          "a number from 0", options.learning_rate);
  require(options.max_steps > 0 || (std::isfinite(options.num_train_epochs) && options.num_train_epochs > 0),
          "num_train_epochs", "a positive number", options.num_train_epochs);
  require_positive("per_device_train_batch_size", options.per_device_train_batch_size);
  require_positive("per_device_eval_batch_size", options.per_device_eval_batch_size);
  require_positive("gradient_accumulation_steps", options.gradient_accumulation_steps);
  require(std::isfinite(options.weight_decay) && options.weight_decay >= 0, "weight_decay", "a number from 0",
          options.weight_decay);
  require_share("adam_beta1", options.adam_beta1);
  require_share("adam_beta2", options.adam_beta2);
  require(options.adam_epsilon >= 0, "adam_epsilon", "a number from 0", options.adam_epsilon);
  require(options.max_grad_norm >= 0, "max_grad_norm", "a number from 0 (0: no clipping)",
          options.max_grad_norm);
  require(options.warmup_ratio >= 0 && options.warmup_ratio <= 1, "warmup_ratio", "a number from 0 to 1",
          options.warmup_ratio);
  require(options.warmup_steps >= 0, "warmup_steps", "a number from 0", options.warmup_steps);
  find_optimizer(options.optim);
  find_schedule(options.lr_scheduler_type);
}

void check_evaluation_options(const FinetuneOptions& options) {
  check_strategy("eval_strategy", options.eval_strategy);
  check_strategy("save_strategy", options.save_strategy);
  require_positive("logging_steps", options.logging_steps);
  require_positive("save_steps", options.save_steps);
  if (options.eval_steps) require_positive("eval_steps", *options.eval_steps);
  require(options.save_total_limit >= 0, "save_total_limit", "a number from 0 (0: keep all)",
          options.save_total_limit);
  if (options.early_stopping_patience)
    require_positive("early_stopping_patience", *options.early_stopping_patience);
  if (options.eval_strategy != "no") return;
  if (options.load_best_model_at_end)
    fail(ErrorKind::usage, "--load_best_model_at_end: expected --eval_strategy epoch or steps, found no");
  if (options.early_stopping_patience)
    fail(ErrorKind::usage, "--early_stopping_patience: expected --eval_strategy epoch or steps, found no");
}

void check_paths(const FinetuneOptions& options) {
  if (options.model_name_or_path.empty())
    fail(ErrorKind::usage, "--model_name_or_path: expected a model folder, found none");
  if (options.output_dir.empty()) fail(ErrorKind::usage, "--output_dir: expected a folder, found none");
  if (lies_in(options.model_name_or_path, options.output_dir)) {
    fail(ErrorKind::usage, "--output_dir {}: the model {} lies in it; choose another folder",
         options.output_dir.string(), options.model_name_or_path.string());
  }
}

// ---- Description

template <typename T>
ordered_json or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json samples_json(int64_t max_samples) {
  return max_samples == all_samples ? ordered_json() : ordered_json(max_samples);
}

const char* to_string(TrainPooler train_pooler) {
  if (train_pooler == TrainPooler::yes) return "true";
  return train_pooler == TrainPooler::no ? "false" : "auto";
}

void add_method(ordered_json& json, const MethodOptions& method) {
  json["method"] = method.method;
  json["train_params"] = method.train_params;
  json["train_pooler"] = to_string(method.train_pooler);
  json["fresh_pooler"] = method.fresh_pooler;
  json["mask"] = method.mask.string();
  json["random_k"] = or_null(method.random_k);
  json["random_scope"] = method.random_scope;
  json["mask_seed"] = method.mask_seed;
  json["adapter_size"] = or_null(method.adapter_size);
  json["adapter_reduction_factor"] = or_null(method.adapter_reduction_factor);
  json["adapter_non_linearity"] = method.adapter_non_linearity;
  json["houlsby_layernorm"] = method.houlsby_layernorm;
  json["lora_r"] = method.lora_r;
  json["lora_alpha"] = method.lora_alpha;
  json["lora_dropout"] = method.lora_dropout;
  json["lora_target_modules"] = method.lora_target_modules;
}

void add_training(ordered_json& json, const FinetuneOptions& options) {
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
  json["hidden_dropout_prob"] = or_null(options.hidden_dropout_prob);
  json["attention_probs_dropout_prob"] = or_null(options.attention_probs_dropout_prob);
  json["classifier_dropout"] = or_null(options.classifier_dropout);
  json["random_init"] = options.random_init;
  json["last_layer_cls_only"] = options.last_layer_cls_only;
  json["seed"] = options.seed;
  json["data_seed"] = options.data_seed.value_or(options.seed);
  json["init_seed"] = options.init_seed.value_or(options.seed);
  json["dropout_seed"] = options.dropout_seed.value_or(options.seed);
  json["shuffle"] = options.shuffle;
}

void add_evaluation(ordered_json& json, const FinetuneOptions& options) {
  json["eval_strategy"] = options.eval_strategy;
  json["eval_steps"] = options.eval_steps.value_or(options.logging_steps);
  json["save_strategy"] = options.save_strategy;
  json["save_steps"] = options.save_steps;
  json["save_total_limit"] = options.save_total_limit;
  json["logging_steps"] = options.logging_steps;
  json["load_best_model_at_end"] = options.load_best_model_at_end;
  json["metric_for_best_model"] = options.metric_for_best_model;
  json["early_stopping_patience"] = or_null(options.early_stopping_patience);
  json["overwrite_output_dir"] = options.overwrite_output_dir;
  json["save_unmerged"] = options.save_unmerged;
}

/// Options that do not change a number: where files lie (their content is hashed instead), logging, saving.
constexpr const char* not_identity[] = {
    "model_name_or_path", "output_dir", "glue_dir",         "train_file",
    "validation_file",    "mask",       "device",           "logging_steps",
    "save_strategy",      "save_steps", "save_total_limit", "overwrite_output_dir",
    "save_unmerged"};

/// What lies beside the weights and shapes the model: configuration, tokenizer, adapters.
std::vector<fs::path> side_files(const Model& model) {
  std::vector<fs::path> files;
  for (const char* name :
       {"config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    files.push_back(model.base_folder / name);
  }
  std::vector<fs::path> adapter_folders = {model.base_folder / "adapterhub"};
  if (model.folder != model.base_folder) adapter_folders.push_back(model.folder);
  for (const fs::path& folder : adapter_folders) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

json model_hashes(const Model& model) {
  json hashes = json::object();
  hashes["weights"] = weights_sha256(model);
  for (const fs::path& file : side_files(model)) {
    if (fs::exists(file)) hashes[file.filename().string()] = sha256_file(file, ErrorKind::model);
  }
  return hashes;
}

json data_hashes(const Dataset& dataset) {
  json hashes = json::array();
  for (const fs::path& file : dataset.files) hashes.push_back(sha256_file(file, ErrorKind::data));
  return hashes;
}

}  // namespace

bool lies_in(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path inner = fs::weakly_canonical(path, error), outer = fs::weakly_canonical(folder, error);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

void check_finetune_options(const FinetuneOptions& options) {
  check_paths(options);
  require(options.max_seq_length >= 3, "max_seq_length", "at least 3 tokens", options.max_seq_length);
  require_positive("max_train_samples", options.task.max_train_samples);
  require_positive("max_eval_samples", options.task.max_eval_samples);
  check_method_name(options.method.method);
  check_training_options(options);
  check_evaluation_options(options);
  require_share("hidden_dropout_prob", options.hidden_dropout_prob);
  require_share("attention_probs_dropout_prob", options.attention_probs_dropout_prob);
  require_share("classifier_dropout", options.classifier_dropout);
  require_share("lora_dropout", options.method.lora_dropout);
  const bool has_peft_form =
      options.method.method == "lora" || options.method.method.starts_with("layernorm");
  if (options.save_unmerged && !has_peft_form) {
    fail(ErrorKind::usage,
         "--save_unmerged: expected a method with a PEFT format (lora, layernorm...), found {}",
         options.method.method);
  }
}

ordered_json options_json(const FinetuneOptions& options) {
  ordered_json json;
  json["model_name_or_path"] = options.model_name_or_path.string();
  json["output_dir"] = options.output_dir.string();
  json["task_name"] = options.task.task_name;
  json["glue_dir"] = options.task.glue_dir.string();
  json["train_file"] = options.task.train_file.string();
  json["validation_file"] = options.task.validation_file.string();
  json["max_train_samples"] = samples_json(options.task.max_train_samples);
  json["max_eval_samples"] = samples_json(options.task.max_eval_samples);
  json["max_seq_length"] = options.max_seq_length;
  add_method(json, options.method);
  add_training(json, options);
  add_evaluation(json, options);
  json["device"] = to_string(options.device);
  json["precision"] = options.precision == DType::float64 ? "fp64" : "fp32";
  return json;
}

json run_identity(const FinetuneOptions& options, const Model& model, const TaskData& data) {
  json identity = options_json(options);
  for (const char* key : not_identity) identity.erase(key);
  if (options.eval_strategy != "steps") identity.erase("eval_steps");  // which follows logging_steps
  identity["device_type"] = options.device.type == DeviceType::cpu ? "cpu" : "cuda";
  identity["numbers_version"] = numbers_version;
  identity["model_sha256"] = model_hashes(model);
  identity["train_sha256"] = data_hashes(data.train);
  identity["dev_sha256"] = json::array();
  for (const Dataset& dev : data.dev) identity["dev_sha256"].push_back(data_hashes(dev));
  if (!options.method.mask.empty()) {
    identity["mask_sha256"] = sha256_file(options.method.mask, ErrorKind::model);
  }
  return identity;
}

std::string run_id(const json& identity) {
  return sha256(identity.dump()).substr(0, 16);
}

std::string weights_sha256(const Model& model) {
  if (model.weights_file.empty()) return "";
  if (model.weights_file.extension() != ".json") return sha256_file(model.weights_file, ErrorKind::model);
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(model.weights_file.parent_path())) {
    const fs::path extension = entry.path().extension();
    if (extension == ".safetensors" || extension == ".bin") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::string hashes;
  for (const fs::path& file : files) hashes += sha256_file(file, ErrorKind::model);
  return sha256(hashes);
}

std::string describe_differences(const json& now, const json& before) {
  std::vector<std::string> differences;
  for (const auto& [key, value] : now.items()) {
    const json old_value = before.value(key, json());
    if (value != old_value)
      differences.push_back(fmt::format("{} {} (was {})", key, value.dump(), old_value.dump()));
  }
  return fmt::format("{}", fmt::join(differences, ", "));
}

}  // namespace normtune
