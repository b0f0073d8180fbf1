#include "tools/training_options.h"

#include <fmt/format.h>

#include <csignal>

#include "tools/console.h"

namespace normtune {

void add_dropout_options(Options& options, TrainingOptions& target) {
  options.number("hidden_dropout_prob", target.hidden_dropout_prob, from_0_below_1,
                 "dropout of hidden states", "as in config.json");
  options.number("attention_probs_dropout_prob", target.attention_probs_dropout_prob, from_0_below_1,
                 "dropout of attention probabilities", "as in config.json");
}

void add_optimizer_options(Options& options, TrainingOptions& target) {
  options.group("Optimiser and schedule");
  options.number("learning_rate", target.learning_rate, at_least_0, "peak learning rate");
  options.number("num_train_epochs", target.num_train_epochs, above_0, "passes over the training rows");
  options.integer("max_steps", target.max_steps, {.minimum = -1}, "updates, if positive in place of epochs");
  options.integer("per_device_train_batch_size", target.per_device_train_batch_size, at_least_1,
                  "examples in a batch");
  options.integer("gradient_accumulation_steps", target.gradient_accumulation_steps, at_least_1,
                  "batches in an update, whose gradient is the mean over all examples");
  options.choice("optim", target.optim, {"adamw_torch", "adamw_hf", "adamw_bert", "sgd"}, "the optimiser");
  options.number("weight_decay", target.weight_decay, at_least_0, "not for biases and LayerNorms");
  options.number("adam_beta1", target.adam_beta1, from_0_below_1, "decay of the first moment");
  options.number("adam_beta2", target.adam_beta2, from_0_below_1, "decay of the second moment");
  options.number("adam_epsilon", target.adam_epsilon, at_least_0, "added to the denominator");
  options.number("max_grad_norm", target.max_grad_norm, at_least_0, "clips the gradient's norm; 0: never");
  options.choice("lr_scheduler_type", target.lr_scheduler_type, {"linear", "constant", "cosine"},
                 "the learning rate after warm-up");
  options.number("warmup_ratio", target.warmup_ratio, from_0_to_1, "share of all updates");
  options.integer("warmup_steps", target.warmup_steps, at_least_0, "if positive in place of the ratio");
}

void add_output_options(Options& options, TrainingOptions& target) {
  options.group("Evaluation, logging and saving");
  options.path("output_dir", target.output_dir, "DIR", "where everything is written");
  options.boolean("overwrite_output_dir", target.overwrite_output_dir,
                  "starts anew in a folder that is not empty");
  options.choice("eval_strategy", target.eval_strategy, {"epoch", "steps", "no"}, "when to evaluate");
  options.integer("eval_steps", target.eval_steps, at_least_1, "updates between evaluations",
                  "--logging_steps");
  options.integer("per_device_eval_batch_size", target.per_device_eval_batch_size, at_least_1,
                  "examples in a batch of an evaluation");
  options.choice("save_strategy", target.save_strategy, {"epoch", "steps", "no"},
                 "when to write a checkpoint");
  options.integer("save_steps", target.save_steps, at_least_1, "updates between checkpoints");
  options.integer("save_total_limit", target.save_total_limit, at_least_0, "checkpoints to keep; 0: all");
  options.integer("logging_steps", target.logging_steps, at_least_1, "updates between lines of the log");
}

void add_resume_option(Options& options, std::string& resume) {
  options.optional_text(
      "resume_from_checkpoint", resume, "[DIR]",
      "continues the run in --output_dir: from its latest checkpoint, or from the one given");
}

void add_seed_options(Options& options, TrainingOptions& target) {
  options.group("Randomness");
  options.seed("data_seed", target.data_seed, "of the order of the rows", "--seed");
  options.seed("init_seed", target.init_seed, "of new weights", "--seed");
  options.seed("dropout_seed", target.dropout_seed, "of dropout", "--seed");
  options.boolean("shuffle", target.shuffle, "takes the rows of each epoch in a new order");
}

void resolve_training(const CommonOptions& common, const std::string& resume, TrainingOptions& target) {
  target.seed = common.seed;
  target.device = common.device();
  target.precision = common.precision();
  target.progress = ProgressOutput::standard_error(common.quiet);
  target.resume_from_checkpoint = !resume.empty() && resume != "false" && resume != "False";
  if (target.resume_from_checkpoint && resume != "true" && resume != "True") target.resume_from = resume;
}

int report_interrupt(const TrainingResult& result) {
  print_error(fmt::format(
      "interrupted by {}; {} is written: repeat the command with --resume_from_checkpoint to continue",
      result.interrupted_by == SIGINT ? "SIGINT" : "SIGTERM", result.checkpoint.string()));
  return 128 + result.interrupted_by;
}

}  // namespace normtune
