#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/evaluation.h"
#include "experiments/progress.h"
#include "experiments/task_data.h"
#include "nn/model.h"
#include "tools/common_options.h"
#include "tools/options.h"

namespace normtune {

/// What evaluate and predict are told.
struct EvaluationArguments {
  CommonOptions common;
  std::filesystem::path model;
  TaskOptions task;
  std::string split;
  int64_t max_seq_length = 128;
  int64_t batch_size = 8;
  bool last_layer_cls_only = true;
};

/// All of them but the common options. `arguments.split` holds the default.
void add_evaluation_options(Options& options, EvaluationArguments& arguments);

/// A fine-tuned model and the rows that it is asked about.
struct EvaluationInput {
  Model model;
  Task task;
  std::vector<EvaluationSplit> splits;

  int64_t num_examples() const;
  int64_t num_batches(int64_t batch_size) const;
};

/// Reads both. Throws Error(model) for a model without a classifier of the task's size, Error(usage) for
/// options that fit neither, and what the readers throw.
EvaluationInput load_evaluation_input(const EvaluationArguments& arguments, const Console& console);

/// Shows how many of the examples are done.
EvaluationProgress show_evaluation(Progress& progress);

}  // namespace normtune
