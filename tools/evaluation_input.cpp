#include "tools/evaluation_input.h"

#include "experiments/model_data.h"
#include "tensor/error.h"
#include "tools/model_options.h"
#include "tools/task_options.h"

namespace normtune {

namespace {

/// The names of the model's classes; LABEL_0, LABEL_1, ... where config.json gives none.
std::vector<std::string> class_names(const BertConfig& config) {
  if (!config.id2label.empty()) return config.id2label;
  std::vector<std::string> names;
  for (int64_t i = 0; i < config.num_labels(); ++i) names.push_back(fmt::format("LABEL_{}", i));
  return names;
}

void check_classifier(const Model& model, const Task& task) {
  if (model.fresh_classifier) {
    fail(ErrorKind::model,
         "{}: expected a fine-tuned model, found no classifier of {} labels; fine-tune it first",
         model.folder.string(), model.bert.config().num_labels());
  }
  const int64_t num_labels = model.bert.config().num_labels();
  if (num_labels != task.num_labels) {
    fail(ErrorKind::model, "{}: expected a classifier of {} label{} for the task {}, found {}",
         model.folder.string(), task.num_labels, task.num_labels == 1 ? "" : "s", task.name, num_labels);
  }
}

}  // namespace

void add_evaluation_options(Options& options, EvaluationArguments& arguments) {
  add_model_option(options, arguments.model);
  options.boolean("last_layer_cls_only", arguments.last_layer_cls_only,
                  "computes the last layer for [CLS] only: equal results, less work");
  add_task_options(options, arguments.task);
  options.text("split", arguments.split, "dev|test|train|...",
               "the rows to ask about; of mnli also dev_matched, ...");
  options.integer("max_seq_length", arguments.max_seq_length, {.minimum = 3},
                  "cuts longer inputs to this many tokens");
  options.integer("per_device_eval_batch_size", arguments.batch_size, at_least_1, "examples in a batch");
}

int64_t EvaluationInput::num_examples() const {
  int64_t count = 0;
  for (const EvaluationSplit& split : splits) count += split.tokens.size();
  return count;
}

int64_t EvaluationInput::num_batches(int64_t batch_size) const {
  int64_t count = 0;
  for (const EvaluationSplit& split : splits) count += (split.tokens.size() + batch_size - 1) / batch_size;
  return count;
}

EvaluationInput load_evaluation_input(const EvaluationArguments& arguments, const Console& console) {
  const TaskOptions task = resolve_task(arguments.task);
  if (!task.task_name.empty()) split_names(find_task(task.task_name), arguments.split);
  Model model = load_model(arguments.model,
                           {.dtype = use_precision(arguments.common.precision(), arguments.common.device()),
                            .device = arguments.common.device()});
  for (const std::string& warning : model.warnings) console.warning(warning);
  console.detail(to_text(model.report));
  check_sequence_length(arguments.max_seq_length, model.bert.config());
  model.bert.set_last_layer_cls_only(arguments.last_layer_cls_only);
  const std::vector<std::string> names = class_names(model.bert.config());
  TaskSplits rows = load_task_splits(task, arguments.split, names);
  check_classifier(model, rows.task);
  model.bert.leave_frozen_weights_rounded();
  std::vector<EvaluationSplit> splits;
  for (Dataset& dataset : rows.splits) {
    map_labels(dataset, names);
    for (const std::string& warning : dataset.warnings) console.warning(warning);
    TokenizedDataset tokens = tokenize(dataset, model, arguments.max_seq_length);
    splits.push_back({std::move(dataset), std::move(tokens)});
  }
  return {std::move(model), std::move(rows.task), std::move(splits)};
}

EvaluationProgress show_evaluation(Progress& progress) {
  return [&progress](int64_t num_done) {
    progress.update(num_done);
    return true;
  };
}

}  // namespace normtune
