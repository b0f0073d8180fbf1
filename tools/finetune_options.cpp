#include "tools/finetune_options.h"

#include "tools/model_options.h"
#include "tools/task_options.h"
#include "tools/training_options.h"

namespace normtune {

namespace {

void add_model_changes(Options& options, FinetuneOptions& target) {
  add_dropout_options(options, target);
  options.number("classifier_dropout", target.classifier_dropout, from_0_below_1,
                 "dropout of the classifier's input", "as in config.json");
  options.boolean("random_init", target.random_init, "draws every weight; the folder needs no weights");
  options.boolean("last_layer_cls_only", target.last_layer_cls_only,
                  "computes the last layer for [CLS] only: equal results, less work");
  options.boolean("cuda_graphs", target.cuda_graphs, "launches a step on a CUDA device as a whole");
}

void add_best_model_options(Options& options, FinetuneOptions& target) {
  options.boolean("load_best_model_at_end", target.load_best_model_at_end,
                  "writes the best model, not the last");
  options.text("metric_for_best_model", target.metric_for_best_model, "METRIC", "which score is best",
               "that of the task");
  options.integer("early_stopping_patience", target.early_stopping_patience, at_least_1,
                  "evaluations without a better score before the end", "off");
  options.boolean("save_unmerged", target.save_unmerged, "also writes LoRA or LayerNorm deltas to peft/");
}

}  // namespace

void add_finetune_options(Options& options, FinetuneArguments& arguments) {
  options.positional_for("model_name_or_path", "MODEL", "a model folder; or --model_name_or_path");
  add_named_finetune_options(options, arguments);
}

void add_named_finetune_options(Options& options, FinetuneArguments& arguments) {
  FinetuneOptions& target = arguments.options;
  add_named_model_option(options, target.model_name_or_path);
  add_model_changes(options, target);
  add_task_options(options, target.task);
  options.integer("max_seq_length", target.max_seq_length, {.minimum = 3},
                  "cuts longer inputs to this many tokens");
  add_method_options(options, arguments.method);
  add_optimizer_options(options, target);
  add_output_options(options, target);
  add_best_model_options(options, target);
  add_resume_option(options, arguments.resume_from_checkpoint);
  add_seed_options(options, target);
  add_common_options(options, arguments.common);
}

FinetuneOptions resolve_finetune(const FinetuneArguments& arguments) {
  FinetuneOptions options = arguments.options;
  options.method = resolve_method(arguments.method, arguments.common.seed);
  resolve_training(arguments.common, arguments.resume_from_checkpoint, options);
  return options;
}

}  // namespace normtune
