#include "experiments/comparison_options.h"

#include <algorithm>

#include "experiments/data_file.h"
#include "experiments/nearest_name.h"
#include "experiments/task.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {

namespace {

constexpr std::string_view untrained_suffix = "@untrained", mask_prefix = "mask:";

std::vector<std::string> split_words(std::string_view text, std::string_view separators) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(separators), text.size());
    if (end > 0) words.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

double parse_rate(std::string_view text, std::string_view word) {
  const std::optional<double> rate = parse_number(text);
  if (!rate || *rate < 0) {
    fail(ErrorKind::usage,
         "--learning_rates: expected METHOD=RATE[,RATE...] with rates from 0, as in full=5e-5,1e-4 "
         "layernorm=1e-3, found {}",
         printable(word));
  }
  return *rate;
}

template <typename T>
void check_unique(const std::vector<T>& values, const char* option) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::find(values.begin(), values.begin() + static_cast<int64_t>(i), values[i]) !=
        values.begin() + static_cast<int64_t>(i)) {
      fail(ErrorKind::usage, "--{}: expected each once, found {} twice", option, values[i]);
    }
  }
}

/// A name of a row that may be compared. Throws Error(usage) that names the option and the nearest.
void check_row_name(const char* option, const std::string& row) {
  std::vector<std::string> methods;
  for (const MethodDescription& description : method_descriptions()) methods.emplace_back(description.name);
  if (std::find(methods.begin(), methods.end(), method_of_row(row)) != methods.end()) return;
  const size_t at = row.find('@');
  std::string nearest = nearest_name(row.substr(0, at), methods);
  if (at != std::string::npos) nearest += untrained_suffix;
  fail(ErrorKind::usage, "--{}: unknown row {}; nearest: {}; there are {}, each also as METHOD{}", option,
       printable(row), nearest, fmt::join(methods, ", "), untrained_suffix);
}

/// Rows that are not compared are no mistake: a configuration file may serve several comparisons.
void check_kept(const KeptMeasurements& keep) {
  for (const std::string& row : keep.drift_rows) {
    check_row_name("keep_drift", row);
    if (is_untrained(row)) {
      fail(ErrorKind::usage,
           "--keep_drift: {} has no start model in a folder that its change could be measured from; leave it "
           "out",
           row);
    }
  }
  for (const std::string& row : keep.fisher_rows) check_row_name("keep_fisher", row);
}

void check_rows(const ComparisonOptions& options) {
  if (options.rows.empty()) {
    fail(ErrorKind::usage, "--methods: expected at least one method, found none (as in full,head,layernorm)");
  }
  for (const std::string& row : options.rows) check_row_name("methods", row);
  check_unique(options.rows, "methods");
  const bool takes_mask = std::any_of(options.rows.begin(), options.rows.end(), has_mask_of_option);
  if (takes_mask && options.finetune.method.mask.empty()) {
    fail(ErrorKind::usage, "--methods mask: expected --mask FILE, found none (normtune mask makes one)");
  }
  // Rates of methods that are not compared are no mistake: a configuration file may serve several
  // comparisons.
  for (const auto& [name, rates] : options.learning_rates) check_row_name("learning_rates", name);
  check_kept(options.keep);
}

void check_tasks(ComparisonOptions& options) {
  const bool own_rows = !options.finetune.task.train_file.empty();
  if (options.tasks.empty() && !own_rows) {
    fail(ErrorKind::usage,
         "--tasks: expected at least one task, found none (as in cola,mrpc), or --train_file");
  }
  if (options.tasks.size() > 1 && own_rows) {
    fail(ErrorKind::usage, "--train_file: expected one task for these rows, found --tasks {}",
         fmt::join(options.tasks, ","));
  }
  for (std::string& task : options.tasks) task = find_task(task).name;
  check_unique(options.tasks, "tasks");
}

void check_run_options(const ComparisonOptions& options) {
  const FinetuneOptions& finetune = options.finetune;
  if (options.seeds.empty()) fail(ErrorKind::usage, "--seeds: expected at least one seed, found none");
  check_unique(options.seeds, "seeds");
  if (options.report_split != "dev" && options.report_split != "test_labelled") {
    fail(ErrorKind::usage, "--report_split: expected dev or test_labelled, found {}",
         printable(options.report_split));
  }
  if (finetune.random_init) {
    fail(ErrorKind::usage, "--random_init: compare has rows for it; write --methods full@untrained");
  }
  if (!finetune.method.train_params.empty()) {
    fail(
        ErrorKind::usage,
        "--train_params: it would replace what every row of the comparison trains; expected none (one run of "
        "it: normtune finetune)");
  }
  if (finetune.overwrite_output_dir || finetune.resume_from_checkpoint) {
    fail(ErrorKind::usage,
         "--{}: compare always continues: finished runs are kept and others go on; remove their folders in "
         "{} to repeat them",
         finetune.overwrite_output_dir ? "overwrite_output_dir" : "resume_from_checkpoint",
         (options.output_dir / "runs").string());
  }
  if (options.shard.index < 1 || options.shard.index > options.shard.count) {
    fail(ErrorKind::usage, "--shard: expected I/N with I from 1 to N, found {}/{}", options.shard.index,
         options.shard.count);
  }
}

}  // namespace

std::string method_of_row(std::string_view row) {
  if (is_untrained(row)) row.remove_suffix(untrained_suffix.size());
  if (has_own_masks(row)) row = mask_prefix.substr(0, mask_prefix.size() - 1);
  return std::string(row);
}

bool is_untrained(std::string_view row) {
  return row.ends_with(untrained_suffix);
}

bool has_own_masks(std::string_view row) {
  return row.starts_with(mask_prefix);
}

bool has_mask_of_option(std::string_view row) {
  return method_of_row(row) == "mask" && !has_own_masks(row);
}

std::map<std::string, std::vector<double>> parse_learning_rates(std::string_view text) {
  std::map<std::string, std::vector<double>> rates;
  std::string name;
  for (const std::string& word : split_words(text, " ,\t")) {
    const size_t equals = word.find('=');
    if (equals != std::string::npos) name = word.substr(0, equals);
    if (name.empty()) parse_rate("", word);
    rates[name].push_back(parse_rate(word.substr(equals == std::string::npos ? 0 : equals + 1), word));
  }
  for (auto& [row, values] : rates) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  }
  return rates;
}

std::vector<double> learning_rates_of(const ComparisonOptions& options, const std::string& row) {
  for (const std::string& name : {row, method_of_row(row)}) {
    const auto found = options.learning_rates.find(name);
    if (found != options.learning_rates.end()) return found->second;
  }
  return {options.finetune.learning_rate};
}

std::vector<std::string> task_names(const ComparisonOptions& options) {
  return options.tasks.empty() ? std::vector<std::string>{""} : options.tasks;
}

void check_comparison_options(ComparisonOptions& options) {
  check_rows(options);
  check_tasks(options);
  check_run_options(options);
}

}  // namespace normtune
