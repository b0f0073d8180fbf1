#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "experiments/pocket_corpus.h"
#include "experiments/pretrain.h"
#include "tensor/error.h"
#include "tools/commands.h"
#include "tools/console.h"
#include "tools/results.h"
#include "tools/training_options.h"

namespace normtune {

namespace {

/// What the command line says of a pre-training, before defaults that depend on other options are filled in.
struct PretrainArguments {
  CommonOptions common;
  std::string resume_from_checkpoint;
  std::vector<std::string> train_files, validation_files;
  std::string corpus;
  PretrainOptions options;
};

void add_text_options(Options& options, PretrainArguments& arguments) {
  PretrainOptions& target = arguments.options;
  options.group("Text");
  options.list("train_files", arguments.train_files, "FILE,...",
               "plain text: a paragraph per line, an empty line between documents");
  options.choice("corpus", arguments.corpus, {"pocket"},
                 "generated text in place of files; brings its own defaults for model and training", "none");
  options.list("validation_files", arguments.validation_files, "FILE,...", "text that is held out");
  options.integer("max_eval_samples", target.max_eval_samples, at_least_1,
                  "held-out examples, evenly spread over the text");
  options.integer("max_seq_length", target.max_seq_length, {.minimum = 8}, "tokens of an example, at most");
}

void add_objective_options(Options& options, PretrainOptions& target) {
  options.group("What is learned");
  options.number("mlm_probability", target.mlm_probability, {.minimum = 0, .maximum = 1},
                 "share of tokens to predict");
  options.boolean("whole_word_mask", target.whole_word_mask, "hides all pieces of a word or none");
  options.boolean("no_nsp", target.no_nsp,
                  "no sentence pairs, no next-sentence prediction: full-length single segments");
  options.number("wrong_pair_share", target.wrong_pair_share, from_0_to_1,
                 "share of pairs whose second text comes from elsewhere");
}

void add_new_model_options(Options& options, PretrainOptions& target) {
  options.group("Model");
  options.path("model_name_or_path", target.model_name_or_path, "MODEL",
               "a model to continue from, in place of a new one", "none");
  options.boolean("fresh_pooler", target.fresh_pooler, "draws a pooler for a model that has none");
  options.integer("vocab_size", target.vocab_size, at_least_1, "pieces of the vocabulary that is learned");
  options.boolean("do_lower_case", target.do_lower_case, "an uncased vocabulary");
  options.integer("num_hidden_layers", target.num_hidden_layers, at_least_1, "layers");
  options.integer("hidden_size", target.hidden_size, at_least_1, "width of hidden states");
  options.integer("num_attention_heads", target.num_attention_heads, at_least_1, "heads in a layer");
  options.integer("intermediate_size", target.intermediate_size, at_least_1, "width of the FFN");
  options.integer("max_position_embeddings", target.max_position_embeddings, at_least_1, "longest input ever",
                  "--max_seq_length, at least 128");
  options.number("initializer_range", target.initializer_range, above_0,
                 "standard deviation of initial weights");
  add_dropout_options(options, target);
}

void add_pretrain_options(Options& options, PretrainArguments& arguments) {
  PretrainOptions& target = arguments.options;
  add_text_options(options, arguments);
  add_objective_options(options, target);
  add_new_model_options(options, target);
  add_optimizer_options(options, target);
  options.number("time_limit", target.time_limit, at_least_0,
                 "minutes, if positive in place of updates: the schedule goes by the time that has passed");
  add_output_options(options, target);
  add_resume_option(options, arguments.resume_from_checkpoint);
  add_seed_options(options, target);
  add_common_options(options, arguments.common);
}

/// What suits pocket's small English, for options that were not given: a model that learns it in minutes.
void apply_pocket_defaults(const Options& options, PretrainOptions& target) {
  const auto set = [&](const char* name, auto& option, auto value) {
    if (!options.given(name)) option = value;
  };
  set("max_seq_length", target.max_seq_length, 64);
  set("num_hidden_layers", target.num_hidden_layers, 3);
  set("hidden_size", target.hidden_size, 128);
  set("num_attention_heads", target.num_attention_heads, 4);
  set("intermediate_size", target.intermediate_size, 256);
  set("initializer_range", target.initializer_range, 0.05);
  set("hidden_dropout_prob", target.hidden_dropout_prob, 0.0);
  set("attention_probs_dropout_prob", target.attention_probs_dropout_prob, 0.0);
  set("learning_rate", target.learning_rate, 1.5e-3);
  set("adam_beta2", target.adam_beta2, 0.98);
}

/// A model to continue from has its own vocabulary and shape.
void refuse_options_of_new_models(const Options& options, const PretrainOptions& target) {
  if (target.model_name_or_path.empty()) return;
  for (const char* name : {"vocab_size", "do_lower_case", "num_hidden_layers", "hidden_size",
                           "num_attention_heads", "intermediate_size", "max_position_embeddings"}) {
    if (!options.given(name)) continue;
    fail(ErrorKind::usage,
         "--{}: {} has its own; leave the option out, or --model_name_or_path for a new model", name,
         target.model_name_or_path.string());
  }
}

PretrainOptions resolve_pretrain(const PretrainArguments& arguments) {
  PretrainOptions options = arguments.options;
  options.train_files.assign(arguments.train_files.begin(), arguments.train_files.end());
  options.validation_files.assign(arguments.validation_files.begin(), arguments.validation_files.end());
  resolve_training(arguments.common, arguments.resume_from_checkpoint, options);
  if (arguments.corpus == "pocket") {
    options.corpora = std::make_shared<PretrainingCorpora>(pocket_corpora(options.seed));
  }
  return options;
}

void print_results(const Console& console, const PretrainOptions& options,
                   const nlohmann::ordered_json& results) {
  console.result(fmt::format("pre-trained: the model is in {}\n", options.output_dir.string()));
  if (results.contains("eval_loss")) console.result(score_table(results) + "\n");
  console.result(cost_lines(results));
}

}  // namespace

int run_pretrain(Arguments arguments) {
  PretrainArguments pretrain_arguments;
  Options options("pretrain",
                  "Pre-trains a model on plain text; writes model, vocabulary and logs to --output_dir.");
  add_pretrain_options(options, pretrain_arguments);
  if (!options.parse(arguments)) return 0;
  apply_common_options(pretrain_arguments.common);
  refuse_options_of_new_models(options, pretrain_arguments.options);
  if (pretrain_arguments.corpus == "pocket") apply_pocket_defaults(options, pretrain_arguments.options);
  const PretrainOptions pretrain_options = resolve_pretrain(pretrain_arguments);
  options.require("output_dir");

  const Console console = pretrain_arguments.common.console();
  console.detail(options_json(pretrain_options).dump(2));
  const TrainingResult result = pretrain(pretrain_options);
  if (result.interrupted_by != 0) return report_interrupt(result);
  const auto results = nlohmann::ordered_json::parse(result.all_results_json);
  print_results(console, pretrain_options, results);
  console.document(results);
  return 0;
}

}  // namespace normtune
