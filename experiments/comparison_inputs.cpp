#include "experiments/comparison_inputs.h"

#include <algorithm>
#include <cstdlib>

#include "experiments/finetune_options.h"
#include "experiments/metrics.h"
#include "experiments/run_lock.h"
#include "experiments/task_data.h"
#include "nn/adapter_config.h"
#include "nn/json_file.h"
#include "nn/model.h"
#include "nn/sha256.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

bool needs_weights(const ComparisonOptions& options) {
  for (const std::string& row : options.rows) {
    if (!is_untrained(row)) return true;
  }
  return false;
}

json hash_model(const ComparisonOptions& options) {
  const fs::path& folder = options.finetune.model_name_or_path;
  const fs::path base = base_model_folder(folder);
  const ModelFiles files{.folder = folder, .base_folder = base, .weights = find_weights(base)};
  if (!fs::exists(base / "config.json")) {
    fail(ErrorKind::model, "{}: expected a model folder, found no config.json in it", folder.string());
  }
  if (files.weights.empty() && needs_weights(options)) {
    fail(ErrorKind::model,
         "{}: expected model.safetensors or pytorch_model.bin, found neither; only rows METHOD@untrained "
         "need no weights",
         base.string());
  }
  return model_hashes(files);
}

int64_t count_characters(const Dataset& dataset) {
  size_t count = 0;
  for (const Example& example : dataset.examples) {
    count += example.sentence1.size() + example.sentence2.value_or("").size();
  }
  return static_cast<int64_t>(count);
}

/// The metric's name without `eval_`.
std::string plain_metric(const std::string& name) {
  return name.starts_with("eval_") ? name.substr(5) : name;
}

/// The metric of tables and grids. Throws Error(usage) for one that the task does not have.
std::string checked_metric(const TaskData& data, const std::string& asked) {
  std::vector<Metrics> metrics;
  for (const Dataset& split : data.dev) {
    const auto size = split.examples.size() * static_cast<size_t>(data.task.num_labels);
    metrics.push_back(compute_metrics(data.task, split, std::vector<double>(size)));
  }
  headline_score(data.task, merge_metrics(metrics), asked);
  return plain_metric(asked.empty() ? data.task.default_metric : asked);
}

json hash_splits(const std::vector<Dataset>& splits) {
  json hashes = json::array();
  for (const Dataset& split : splits) hashes.push_back(data_hashes(split));
  return hashes;
}

TaskInputs hash_task(const ComparisonOptions& options, const std::string& name) {
  TaskOptions task_options = options.finetune.task;
  task_options.task_name = name;
  const TaskData data = load_task_data(task_options);
  if (data.dev.empty()) {
    fail(ErrorKind::usage, "--validation_file: expected rows that learning rates are chosen on, found none");
  }
  TaskInputs inputs{.metric = checked_metric(data, options.finetune.metric_for_best_model),
                    .hashes = {{"train", data_hashes(data.train)}, {"dev", hash_splits(data.dev)}},
                    .train_rows = static_cast<int64_t>(data.train.examples.size()),
                    .train_characters = count_characters(data.train)};
  if (options.report_split != "dev") {
    const TaskSplits report = load_task_splits(task_options, options.report_split, data.task.label_names);
    for (const Dataset& split : report.splits) {
      if (!split.labelled) {
        fail(ErrorKind::data,
             "{}: expected a label in every row, found rows without; --report_split {} needs them",
             split.files.front().string(), options.report_split);
      }
    }
    inputs.hashes[options.report_split] = hash_splits(report.splits);
  }
  return inputs;
}

// ---- The record

fs::path record_path(const ComparisonOptions& options) {
  return options.output_dir / "inputs.json";
}

json read_record(const ComparisonOptions& options) {
  const fs::path path = record_path(options);
  return fs::exists(path) ? read_json_file(path, ErrorKind::data) : json::object();
}

/// The model's folder is the key: its name, not where it lies.
std::string model_key(const ComparisonOptions& options) {
  const fs::path path = options.finetune.model_name_or_path;
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

json task_json(const TaskInputs& inputs) {
  return {{"metric", inputs.metric},
          {"sha256", inputs.hashes},
          {"train_rows", inputs.train_rows},
          {"train_characters", inputs.train_characters}};
}

TaskInputs task_of_record(const json& entry, const ComparisonOptions& options) {
  const std::string& asked = options.finetune.metric_for_best_model;
  return {.metric = asked.empty() ? entry.at("metric").get<std::string>() : plain_metric(asked),
          .hashes = entry.at("sha256"),
          .train_rows = entry.at("train_rows"),
          .train_characters = entry.at("train_characters")};
}

bool model_is_there(const ComparisonOptions& options) {
  return fs::exists(options.finetune.model_name_or_path);
}

bool task_is_there(const ComparisonOptions& options, const std::string& name) {
  const TaskOptions& task = options.finetune.task;
  if (!task.train_file.empty()) return fs::exists(task.train_file);
  const char* variable = std::getenv("GLUE_DIR");
  const fs::path glue = !task.glue_dir.empty() ? task.glue_dir : variable != nullptr ? variable : "";
  return fs::exists(glue / find_task(name).folder);
}

}  // namespace

ComparisonInputs read_comparison_inputs(const ComparisonOptions& options) {
  const json record = read_record(options);
  const auto recalls = [&](const char* group, const std::string& key, bool is_there) {
    return !is_there && record.contains(group) && record[group].contains(key);
  };
  ComparisonInputs inputs;
  const bool recalls_model = recalls("models", model_key(options), model_is_there(options));
  inputs.model = recalls_model ? record["models"][model_key(options)] : hash_model(options);
  inputs.recorded = recalls_model;
  if (!options.finetune.method.mask.empty()) {
    inputs.mask = sha256_file(options.finetune.method.mask, ErrorKind::model);
  }
  for (const std::string& task : task_names(options)) {
    const bool recalls_task = recalls("tasks", task, task_is_there(options, task));
    inputs.tasks[task] =
        recalls_task ? task_of_record(record["tasks"][task], options) : hash_task(options, task);
    inputs.recorded = inputs.recorded || recalls_task;
  }
  return inputs;
}

void check_mask_file(const ComparisonOptions& options) {
  const fs::path& folder = options.finetune.model_name_or_path;
  const bool takes_mask = std::any_of(options.rows.begin(), options.rows.end(), has_mask_of_option);
  if (!takes_mask || !model_is_there(options)) return;
  // A mask may name the tensors of adapters, which only loading the folder would insert.
  if (adapter_folder_kind(folder) || fs::exists(folder / "adapterhub")) return;
  Bert model(read_bert_config(base_model_folder(folder)), BertHead::classification);
  apply_method(model, {.method = "mask", .mask = options.finetune.method.mask}, 0);
}

void write_comparison_inputs(const ComparisonOptions& options, const ComparisonInputs& inputs) {
  if (inputs.recorded) return;
  const std::unique_ptr<RunLock> lock = RunLock::wait_for(options.output_dir);  // others add to it too
  json record = read_record(options);
  const json before = record;
  record["models"][model_key(options)] = inputs.model;
  for (const auto& [name, task] : inputs.tasks) record["tasks"][name] = task_json(task);
  if (record != before) write_json_file(record_path(options), record);
}

}  // namespace normtune
