#include "experiments/comparison_plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include "experiments/finetune_options.h"
#include "experiments/nearest_name.h"
#include "experiments/training_run.h"

namespace normtune {

using nlohmann::json;

namespace {

// ---- Identity

/// Options that say when to evaluate and what is best; without a choice of the best model no number follows
/// from them.
constexpr std::array<std::string_view, 3> evaluation_options = {"eval_strategy", "eval_steps",
                                                                "metric_for_best_model"};
/// Always part of the identity, so that it can be read without a list of defaults.
constexpr std::array<std::string_view, 6> always_named = {"method",    "learning_rate", "seed",
                                                          "data_seed", "init_seed",     "dropout_seed"};

template <size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// False for options of other methods.
bool concerns_method(std::string_view option, const std::string& method) {
  if (option.starts_with("lora_")) return method == "lora";
  if (option.starts_with("adapter_")) return method == "houlsby" || method == "pfeiffer";
  if (option == "houlsby_layernorm") return method == "houlsby";
  if (option.starts_with("random_") && option != "random_init") return method == "random";
  if (option == "mask_seed") return method == "random";
  return true;
}

bool chooses_best_model(const FinetuneOptions& options) {
  return options.load_best_model_at_end || options.early_stopping_patience;
}

json identifying_options(const FinetuneOptions& options) {
  const json all = options_json(options);
  const json defaults = options_json(FinetuneOptions{});
  json result = json::object();
  for (const auto& [name, value] : all.items()) {
    if (!changes_numbers(name) || !concerns_method(name, options.method.method)) continue;
    if (is_one_of(evaluation_options, name) && !chooses_best_model(options)) continue;
    if (name == "eval_steps" && options.eval_strategy != "steps") continue;
    if (is_one_of(always_named, name) || name == "mask_seed" || value != defaults.at(name)) {
      result[name] = value;
    }
  }
  return result;
}

// ---- Plan

const MaskFile& row_mask(const ComparisonOptions& options, const std::string& row, const std::string& task,
                         uint64_t seed) {
  const auto found = options.row_masks.find({row, task, seed});
  if (found == options.row_masks.end()) {
    fail(ErrorKind::usage,
         "{}: such rows belong to experiments, which make their masks (normtune reproduce); with a file of "
         "your "
         "own, write --methods mask --mask FILE",
         row);
  }
  return found->second;
}

/// SHA-256 of the mask that a run trains with; empty without one.
std::string mask_of_run(const ComparisonOptions& options, const ComparisonInputs& inputs,
                        const FinetuneOptions& run, const std::string& row) {
  if (has_own_masks(row)) return row_mask(options, row, run.task.task_name, run.seed).sha256;
  return run.method.method == "mask" ? inputs.mask : "";
}

/// An untrained model has no folder that its change could be measured from.
std::vector<std::string> measurements_of(const KeptMeasurements& keep, const std::string& row) {
  std::vector<std::string> files;
  if (contains(keep.drift_rows, row) && !is_untrained(row)) files.push_back("drift.json");
  if (contains(keep.fisher_rows, row)) files.push_back("fisher.json");
  return files;
}

FinetuneOptions options_of_run(const ComparisonOptions& options, const std::string& task,
                               const std::string& row, double learning_rate, uint64_t seed) {
  FinetuneOptions run = options.finetune;
  run.task.task_name = task;
  run.method.method = method_of_row(row);
  run.method.mask_seed = options.mask_seed.value_or(seed);
  if (run.method.method != "mask") run.method.mask.clear();
  if (has_own_masks(row)) run.method.mask = row_mask(options, row, task, seed).path;
  run.random_init = is_untrained(row);
  run.learning_rate = learning_rate;
  run.seed = seed;
  return run;
}

/// Updates times examples of each, in characters.
double work_of(const FinetuneOptions& options, const TaskInputs& task) {
  const auto rows = static_cast<double>(task.train_rows),
             characters = static_cast<double>(task.train_characters);
  const auto update =
      static_cast<double>(options.per_device_train_batch_size * options.gradient_accumulation_steps);
  const double examples = options.max_steps > 0 ? static_cast<double>(options.max_steps) * update
                                                : options.num_train_epochs * rows;
  return examples * characters / rows;
}

ComparedRun make_run(const ComparisonOptions& options, const ComparisonInputs& inputs,
                     const FinetuneOptions& run_options, const std::string& row) {
  const TaskInputs& task = inputs.tasks.at(run_options.task.task_name);
  ComparedRun run{.identity = compared_run_identity(run_options, inputs, options.report_split,
                                                    mask_of_run(options, inputs, run_options, row)),
                  .row = row,
                  .task = run_options.task.task_name.empty() ? "own" : run_options.task.task_name,
                  .metric = task.metric,
                  .options = run_options,
                  .measurements = measurements_of(options.keep, row),
                  .work = work_of(run_options, task)};
  run.id = run_id(run.identity);
  run.options.output_dir = options.output_dir / "runs" / run.id;
  check_finetune_options(run.options);
  return run;
}

// ---- Arguments

/// An option's value as the command line takes it; empty for what is left out.
std::string argument_text(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "";
  if (!value.is_array()) return value.dump();
  std::string joined;
  for (const json& element : value) joined += (joined.empty() ? "" : ",") + element.get<std::string>();
  return joined;
}

/// Seeds that are not given follow --seed.
bool follows_seed(std::string_view name) {
  return name == "data_seed" || name == "init_seed" || name == "dropout_seed" || name == "mask_seed";
}

std::vector<std::string> changed_arguments(const FinetuneOptions& options,
                                           const std::set<std::string>* only = nullptr) {
  const auto all = options_json(options), defaults = options_json(FinetuneOptions{});
  std::vector<std::string> arguments;
  for (const auto& [name, value] : all.items()) {
    if (only != nullptr && !only->contains(name)) continue;
    const bool named = name == "task_name" || name == "method" || name == "learning_rate" || name == "seed";
    const bool is_default = follows_seed(name) ? value == all.at("seed") : value == defaults.at(name);
    const std::string text = argument_text(value);
    if ((named || !is_default) && !text.empty()) arguments.push_back("--" + name + "=" + text);
  }
  return arguments;
}

}  // namespace

json compared_run_identity(const FinetuneOptions& options, const ComparisonInputs& inputs,
                           const std::string& report_split, const std::string& mask_sha256) {
  const TaskInputs& task = inputs.tasks.at(options.task.task_name);
  json model = inputs.model;
  if (options.random_init) model.erase("weights");
  json identity = {{"numbers_version", numbers_version},
                   {"options", identifying_options(options)},
                   {"task", options.task.task_name},
                   {"device_type", options.device.type == DeviceType::cpu ? "cpu" : "cuda"},
                   {"model_sha256", model},
                   {"data_sha256", {{"train", task.hashes.at("train")}, {"dev", task.hashes.at("dev")}}}};
  identity["options"].erase("task_name");
  if (options.method.method == "mask") identity["mask_sha256"] = mask_sha256;
  if (report_split != "dev") identity["data_sha256"][report_split] = task.hashes.at(report_split);
  return identity;
}

std::vector<ComparedRun> plan_runs(const ComparisonOptions& options, const ComparisonInputs& inputs) {
  std::vector<ComparedRun> runs;
  for (const uint64_t seed : options.seeds) {
    for (const std::string& task : task_names(options)) {
      for (const std::string& row : options.rows) {
        for (const double rate : learning_rates_of(options, row)) {
          runs.push_back(make_run(options, inputs, options_of_run(options, task, row, rate, seed), row));
        }
      }
    }
  }
  return runs;
}

bool in_shard(const Shard& shard, size_t index) {
  return static_cast<int64_t>(index) % shard.count == shard.index - 1;
}

std::vector<std::string> finetune_arguments(const FinetuneOptions& options) {
  std::vector<std::string> arguments = {"finetune"};
  for (std::string& argument : changed_arguments(options)) arguments.push_back(std::move(argument));
  return arguments;
}

std::vector<std::string> evaluate_arguments(const FinetuneOptions& options, const std::string& split) {
  static const std::set<std::string> shared = {
      "task_name", "glue_dir",  "max_eval_samples",   "max_seq_length", "per_device_eval_batch_size",
      "device",    "precision", "last_layer_cls_only"};
  std::vector<std::string> arguments = {"evaluate", options.output_dir.string(), "--split=" + split, "--json",
                                        "--quiet"};
  for (std::string& argument : changed_arguments(options, &shared)) arguments.push_back(std::move(argument));
  if (!options.task.test_file.empty()) arguments.push_back("--test_file=" + options.task.test_file.string());
  return arguments;
}

std::vector<std::string> drift_arguments(const FinetuneOptions& options) {
  static const std::set<std::string> shared = {"device"};
  std::vector<std::string> arguments = {"drift", options.model_name_or_path.string(),
                                        options.output_dir.string(), "--json", "--quiet"};
  for (std::string& argument : changed_arguments(options, &shared)) arguments.push_back(std::move(argument));
  return arguments;
}

std::vector<std::string> fisher_arguments(const FinetuneOptions& options, int64_t num_samples) {
  static const std::set<std::string> shared = {"task_name",       "glue_dir",           "train_file",
                                               "validation_file", "max_seq_length",     "device",
                                               "precision",       "last_layer_cls_only"};
  std::vector<std::string> arguments = {"fisher", options.output_dir.string(), "--json", "--quiet",
                                        fmt::format("--num_samples={}", num_samples)};
  for (std::string& argument : changed_arguments(options, &shared)) arguments.push_back(std::move(argument));
  return arguments;
}

}  // namespace normtune
