#include "experiments/task_data.h"

#include <cstdlib>

#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

/// GLUE's folder: the option, else the environment's.
fs::path find_glue_dir(const TaskOptions& options) {
  if (!options.glue_dir.empty()) return options.glue_dir;
  const char* variable = std::getenv("GLUE_DIR");
  if (variable != nullptr && *variable != '\0') return variable;
  fail(ErrorKind::usage, "--task_name {}: expected --glue_dir DIR or the environment variable GLUE_DIR",
       options.task_name);
}

/// A user's file for a split of a GLUE task, or of a task of its own with this scheme.
Dataset load_file(const fs::path& file, const std::string& split, const Task* task,
                  const std::optional<LabelScheme>& scheme, bool labels_required, int64_t max_samples) {
  if (task != nullptr) return load_own_file(file, split, *task, labels_required, max_samples);
  return load_own_file(file, split, scheme, labels_required, max_samples);
}

std::vector<Dataset> load_glue_splits(const Task& task, const TaskOptions& options, const std::string& split,
                                      int64_t max_samples) {
  std::vector<Dataset> splits;
  for (const std::string& name : split_names(task, split)) {
    splits.push_back(load_glue(task, find_glue_dir(options), name, max_samples));
  }
  return splits;
}

/// The file given for a split; empty if there is none.
fs::path own_file(const TaskOptions& options, const std::string& split) {
  if (split == "train") return options.train_file;
  if (split == "dev") return options.validation_file;
  if (split.starts_with("test")) return options.test_file;
  return {};
}

int64_t max_samples_of(const TaskOptions& options, const std::string& split) {
  return split == "train" ? options.max_train_samples : options.max_eval_samples;
}

/// Rows of one text and rows of two are different tasks.
void check_equal_texts(const Dataset& train, const Dataset& dev) {
  if (train.examples.empty() || dev.examples.empty()) return;
  const bool pairs = train.examples.front().sentence2.has_value();
  if (dev.examples.front().sentence2.has_value() == pairs) return;
  fail(ErrorKind::data, "{}: expected {} per row, as in {}, found {}", dev.files.front().string(),
       pairs ? "two texts" : "one text", train.files.front().string(), pairs ? "one" : "two");
}

[[noreturn]] void fail_without_data(const std::string& option) {
  fail(ErrorKind::usage, "no data: expected --task_name NAME with --glue_dir DIR, or {}", option);
}

}  // namespace

TaskData load_task_data(const TaskOptions& options) {
  const bool own_rows = !options.train_file.empty();
  if (options.task_name.empty() && !own_rows) fail_without_data("--train_file FILE");
  TaskData data;
  const Task* glue = options.task_name.empty() ? nullptr : &find_task(options.task_name);
  if (own_rows) {
    data.train = load_file(options.train_file, "train", glue, {}, true, options.max_train_samples);
  } else {
    data.train = std::move(load_glue_splits(*glue, options, "train", options.max_train_samples).front());
  }
  const LabelScheme scheme = label_scheme(data.train);
  data.task = glue != nullptr ? *glue : own_task(scheme.names, scheme.regression);
  if (!options.validation_file.empty()) {
    data.dev.push_back(
        load_file(options.validation_file, "dev", glue, scheme, true, options.max_eval_samples));
    check_equal_texts(data.train, data.dev.front());
  } else if (!own_rows) {
    data.dev = load_glue_splits(*glue, options, "dev", options.max_eval_samples);
  }
  return data;
}

TaskSplits load_task_splits(const TaskOptions& options, const std::string& split,
                            const std::vector<std::string>& id2label) {
  const fs::path file = own_file(options, split);
  const int64_t max_samples = max_samples_of(options, split);
  const Task* glue = options.task_name.empty() ? nullptr : &find_task(options.task_name);
  if (file.empty()) {
    if (glue == nullptr) fail_without_data(fmt::format("the file of the split '{}'", split));
    return {*glue, load_glue_splits(*glue, options, split, max_samples)};
  }
  std::optional<LabelScheme> scheme;
  if (!id2label.empty()) scheme = label_scheme(id2label);
  const bool labels_required = split == "train" || split == "dev";
  Dataset rows = load_file(file, split, glue, scheme, labels_required, max_samples);
  const LabelScheme classes = scheme.value_or(label_scheme(rows));
  TaskSplits result{glue != nullptr ? *glue : own_task(classes.names, classes.regression), {}};
  result.splits.push_back(std::move(rows));
  return result;
}

}  // namespace normtune
