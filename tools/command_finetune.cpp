#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

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

/// Options that belong to some methods only.
struct MethodOption {
  const char* name;
  std::vector<std::string_view> methods;
};
const std::vector<MethodOption> method_options = {{"mask", {"mask"}},
                                                  {"random_k", {"random"}},
                                                  {"random_scope", {"random"}},
                                                  {"mask_seed", {"random"}},
                                                  {"adapter_size", {"houlsby", "pfeiffer"}},
                                                  {"adapter_reduction_factor", {"houlsby", "pfeiffer"}},
                                                  {"adapter_non_linearity", {"houlsby", "pfeiffer"}},
                                                  {"houlsby_layernorm", {"houlsby"}},
                                                  {"lora_r", {"lora"}},
                                                  {"lora_alpha", {"lora"}},
                                                  {"lora_dropout", {"lora"}},
                                                  {"lora_target_modules", {"lora"}}};

/// A comparison gives its rows the same options, so one that does nothing is no mistake.
void warn_of_idle_options(const Console& console, const Options& options, const std::string& method) {
  for (const auto& [name, methods] : method_options) {
    if (!options.given(name) || std::find(methods.begin(), methods.end(), method) != methods.end()) continue;
    console.warning(fmt::format("--{} does nothing with --method {}; it is of {}", name, method,
                                fmt::join(methods, " and ")));
  }
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
  warn_of_idle_options(console, options, finetune_options.method.method);
  console.detail(options_json(finetune_options).dump(2));
  const TrainingResult result = finetune(finetune_options);
  if (result.interrupted_by != 0) return report_interrupt(result);
  const auto results = nlohmann::ordered_json::parse(result.all_results_json);
  print_results(console, finetune_options, results);
  console.document(results);
  return 0;
}

}  // namespace normtune
