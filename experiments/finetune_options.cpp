#include "experiments/finetune_options.h"

#include <algorithm>

#include "experiments/json_values.h"
#include "experiments/peft_export.h"
#include "experiments/training_run.h"
#include "nn/sha256.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

// ---- Checks

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
  json["random_k"] = or_null<ordered_json>(method.random_k);
  json["random_scope"] = method.random_scope;
  json["mask_seed"] = method.mask_seed;
  json["adapter_size"] = or_null<ordered_json>(method.adapter_size);
  json["adapter_reduction_factor"] = or_null<ordered_json>(method.adapter_reduction_factor);
  json["adapter_non_linearity"] = method.adapter_non_linearity;
  json["houlsby_layernorm"] = method.houlsby_layernorm;
  json["lora_r"] = method.lora_r;
  json["lora_alpha"] = method.lora_alpha;
  json["lora_dropout"] = method.lora_dropout;
  json["lora_target_modules"] = method.lora_target_modules;
}

/// Options that do not change a number, or by rounding alone: where files lie (their content is hashed
/// instead), logging, saving, graphs.
constexpr const char* not_finetuning_identity[] = {
    "model_name_or_path", "output_dir", "glue_dir",         "train_file",
    "validation_file",    "mask",       "device",           "logging_steps",
    "save_strategy",      "save_steps", "save_total_limit", "overwrite_output_dir",
    "save_unmerged",      "cuda_graphs"};

/// What lies beside the weights and shapes the model: configuration, tokenizer, adapters.
std::vector<fs::path> side_files(const ModelFiles& model) {
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

}  // namespace

bool changes_numbers(std::string_view name) {
  return std::find(std::begin(not_finetuning_identity), std::end(not_finetuning_identity), name) ==
         std::end(not_finetuning_identity);
}

json model_hashes(const ModelFiles& model) {
  json hashes = json::object();
  hashes["weights"] = weights_sha256(model);
  for (const fs::path& file : side_files(model)) {
    if (fs::exists(file)) hashes[file.filename().string()] = sha256_file(file, ErrorKind::model);
  }
  return hashes;
}

json model_hashes(const Model& model) {
  return model_hashes(
      {.folder = model.folder, .base_folder = model.base_folder, .weights = model.weights_file});
}

json data_hashes(const Dataset& dataset) {
  json hashes = json::array();
  for (const fs::path& file : dataset.files) hashes.push_back(sha256_file(file, ErrorKind::data));
  return hashes;
}

void check_finetune_options(const FinetuneOptions& options) {
  check_paths(options);
  require_option(options.max_seq_length >= 3, "max_seq_length", "at least 3 tokens",
                 static_cast<double>(options.max_seq_length));
  require_positive_option("max_train_samples", options.task.max_train_samples);
  require_positive_option("max_eval_samples", options.task.max_eval_samples);
  check_method_name(options.method.method);
  check_training_options(options);
  require_share_option("classifier_dropout", options.classifier_dropout);
  require_share_option("lora_dropout", options.method.lora_dropout);
  if (options.save_unmerged && !has_peft_form(options.method.method)) {
    fail(ErrorKind::usage,
         "--save_unmerged: expected a method with a PEFT format (lora, layernorm...), found {}",
         options.method.method);
  }
  if (options.save_unmerged && options.random_init) {
    fail(ErrorKind::usage,
         "--save_unmerged: a delta needs the weights that it started from, and --random_init reads none; "
         "expected one of the two");
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
  add_training_options(json, options);
  json["classifier_dropout"] = or_null<ordered_json>(options.classifier_dropout);
  json["random_init"] = options.random_init;
  json["last_layer_cls_only"] = options.last_layer_cls_only;
  json["cuda_graphs"] = options.cuda_graphs;
  add_evaluation_options(json, options);
  json["metric_for_best_model"] = options.metric_for_best_model;
  json["save_unmerged"] = options.save_unmerged;
  add_device_options(json, options);
  return json;
}

json run_identity(const FinetuneOptions& options, const Model& model, const TaskData& data) {
  json identity = options_json(options);
  for (const char* key : not_finetuning_identity) identity.erase(key);
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

fs::path find_weights(const fs::path& folder) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "pytorch_model.bin.index.json"}) {
    if (fs::exists(folder / name)) return folder / name;
  }
  return {};
}

std::string weights_sha256(const ModelFiles& model) {
  if (model.weights.empty()) return "";
  if (model.weights.extension() != ".json") return sha256_file(model.weights, ErrorKind::model);
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(model.weights.parent_path())) {
    const fs::path extension = entry.path().extension();
    if (extension == ".safetensors" || extension == ".bin") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::string hashes;
  for (const fs::path& file : files) hashes += sha256_file(file, ErrorKind::model);
  return sha256(hashes);
}

}  // namespace normtune
