#include "tools/task_options.h"

#include <fmt/ranges.h>

namespace normtune {

namespace {

std::string task_names() {
  std::vector<std::string> names;
  for (const Task& task : glue_tasks()) names.push_back(task.name);
  return fmt::format("{}", fmt::join(names, "|"));
}

}  // namespace

void add_task_options(Options& options, TaskOptions& task) {
  options.group("Task");
  options.text("task_name", task.task_name, task_names(), "a task of GLUE");
  options.path("glue_dir", task.glue_dir, "DIR", "the folder that holds CoLA, SST-2, ...", "$GLUE_DIR");
  options.path("train_file", task.train_file, "FILE",
               "own rows, CSV or JSON Lines with sentence1[,sentence2],label");
  options.path("validation_file", task.validation_file, "FILE", "the same for the dev split");
  options.path("test_file", task.test_file, "FILE", "the same for the test split; labels may be missing");
  options.integer("max_train_samples", task.max_train_samples, at_least_1, "takes the first N training rows",
                  "all");
  options.integer("max_eval_samples", task.max_eval_samples, at_least_1,
                  "takes the first N rows of other splits", "all");
}

TaskOptions resolve_task(TaskOptions task) {
  if (!task.task_name.empty()) task.task_name = find_task(task.task_name).name;
  return task;
}

}  // namespace normtune
