#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/dataset.h"
#include "experiments/task.h"

namespace normtune {

/// Which data a command works on; names and defaults are those of the command line.
struct TaskOptions {
  std::string task_name;           ///< of GLUE; empty for a user's own files
  std::filesystem::path glue_dir;  ///< empty: the environment's GLUE_DIR
  std::filesystem::path train_file, validation_file, test_file;
  int64_t max_train_samples = all_samples;
  int64_t max_eval_samples = all_samples;
};

/// A task and the splits that fine-tuning reads.
struct TaskData {
  Task task;
  Dataset train;
  std::vector<Dataset> dev;  ///< one; two for MNLI; none if there is no validation file
};

/// Reads the training and dev rows. The classes of own files are those of the training file. Throws
/// Error(usage) if the options name no data, Error(data) if a file is malformed, has no rows or no labels.
TaskData load_task_data(const TaskOptions& options);

/// The splits behind the name `split` ("train", "dev", "test", "test_labelled", ...), with the task that they
/// belong to. A task of own files has the classes of `id2label`, those of the model that is asked, or if that
/// is empty those that the file defines. Labels may be missing in a test split. Throws as load_task_data
/// does.
struct TaskSplits {
  Task task;
  std::vector<Dataset> splits;
};
TaskSplits load_task_splits(const TaskOptions& options, const std::string& split,
                            const std::vector<std::string>& id2label);

}  // namespace normtune
