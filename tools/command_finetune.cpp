#include <nlohmann/json.hpp>

#include "experiments/finetune.h"
#include "experiments/finetune_options.h"
#include "tools/commands.h"
#include "tools/console.h"
#include "tools/finetune_options.h"
#include "tools/model_options.h"
#include "tools/results.h"
#include "tools/training_options.h"

namespace normtune {

namespace {

/// Element masks cost what full fine-tuning costs: only the optimiser's state is smaller.
bool is_element_mask(const MethodOptions& method) {
  return method.train_params.empty() && (method.method == "random" || method.method == "mask");
}

void print_results(const Console& console, const FinetuneOptions& options,
                   const nlohmann::ordered_json& results) {
  console.result(
      fmt::format("{} on {}: the model is in {}\n", options.method.method,
                  options.task.task_name.empty() ? options.task.train_file.string() : options.task.task_name,
                  options.output_dir.string()));
  if (results.contains("eval_loss")) console.result(score_table(results) + "\n");
  console.result(cost_lines(results));
  if (is_element_mask(options.method)) {
    console.result(
        "An element mask costs what training its tensors whole costs; over the encoder, nearly as much as "
        "full.");
  }
  if (results.value("degenerate", false)) {
    console.result("degenerate: the score of a constant answer; try another seed or learning rate");
  }
}

}  // namespace

int run_finetune(Arguments arguments) {
  FinetuneArguments finetune_arguments;
  Options options("finetune", "Fine-tunes a model on a task; writes model, scores and logs to --output_dir.");
  add_finetune_options(options, finetune_arguments);
  if (!options.parse(arguments)) return 0;
  apply_common_options(finetune_arguments.common);
  FinetuneOptions finetune_options = resolve_finetune(finetune_arguments);
  require_model(options, finetune_options.model_name_or_path);
  options.require("output_dir");
  fit_sequence_length(options, finetune_options.model_name_or_path, finetune_options.max_seq_length);

  const Console console = finetune_arguments.common.console();
  console.detail(options_json(finetune_options).dump(2));
  const TrainingResult result = finetune(finetune_options);
  if (result.interrupted_by != 0) return report_interrupt(result);
  const auto results = nlohmann::ordered_json::parse(result.all_results_json);
  print_results(console, finetune_options, results);
  console.document(results);
  return 0;
}

}  // namespace normtune
