#include <nlohmann/json.hpp>

#include "experiments/metrics.h"
#include "experiments/process_memory.h"
#include "tools/commands.h"
#include "tools/evaluation_input.h"
#include "tools/model_options.h"
#include "tools/results.h"

namespace normtune {

namespace {

nlohmann::ordered_json results_of(const EvaluationArguments& arguments, const EvaluationInput& input,
                                  const Evaluation& evaluation) {
  nlohmann::ordered_json results = evaluation_results(input.splits, evaluation, arguments.batch_size);
  results["task"] = input.task.name;
  results["split"] = arguments.split;
  results["degenerate"] = evaluation.metrics.degenerate;
  results["ms_per_step"] =
      1000 * evaluation.seconds / static_cast<double>(input.num_batches(arguments.batch_size));
  results["peak_rss_bytes"] = peak_rss_bytes();
  const std::optional<int64_t> device_bytes = peak_device_bytes(arguments.common.device());
  results["peak_device_bytes"] = device_bytes ? nlohmann::ordered_json(*device_bytes) : nullptr;
  results["total_parameters"] = input.model.bert.parameters().numel();
  results["trainable_parameters"] = 0;
  return results;
}

}  // namespace

int run_evaluate(Arguments arguments) {
  EvaluationArguments evaluate_arguments{.split = "dev"};
  Options options("evaluate", "Scores a fine-tuned model on a split of a task.");
  add_evaluation_options(options, evaluate_arguments);
  add_common_options(options, evaluate_arguments.common);
  if (!options.parse(arguments)) return 0;
  apply_common_options(evaluate_arguments.common);
  require_model(options, evaluate_arguments.model);
  fit_sequence_length(options, evaluate_arguments.model, evaluate_arguments.max_seq_length);

  const Console console = evaluate_arguments.common.console();
  const EvaluationInput input = load_evaluation_input(evaluate_arguments, console);
  for (const EvaluationSplit& split : input.splits) require_labels(input.task, split.dataset);
  Progress progress("Evaluating", input.num_examples(), "example",
                    ProgressOutput::standard_error(console.quiet()));
  const std::optional<Evaluation> evaluation = evaluate(
      input.model.bert, input.task, input.splits, evaluate_arguments.batch_size, show_evaluation(progress));
  progress.update(input.num_examples());
  progress.finish();
  const nlohmann::ordered_json results = results_of(evaluate_arguments, input, evaluation.value());
  console.result(score_table(results));
  console.document(results);
  return 0;
}

}  // namespace normtune
