#include <nlohmann/json.hpp>

#include "experiments/run_folder.h"
#include "experiments/submission.h"
#include "nn/atomic_file.h"
#include "tools/commands.h"
#include "tools/evaluation_input.h"
#include "tools/model_options.h"

namespace normtune {

namespace {

namespace fs = std::filesystem;

struct PredictArguments {
  EvaluationArguments evaluation{.split = "test"};
  fs::path output_dir;
  fs::path logits;
  bool overwrite_output_dir = false;
};

/// Logits of several splits go to several files: FILE.jsonl, and FILE_mm.jsonl for the mismatched rows.
fs::path logits_file(const fs::path& file, const Dataset& dataset) {
  const fs::path name = file.stem().string() + metric_suffix(dataset) + file.extension().string();
  return file.parent_path() / name;
}

/// Where the logits of a split go; empty if they are not asked for.
fs::path logits_file(const PredictArguments& predict, const EvaluationInput& input,
                     const EvaluationSplit& split) {
  if (predict.logits.empty() || input.splits.size() == 1) return predict.logits;
  return logits_file(predict.logits, split.dataset);
}

/// Refuses outputs that cannot be written, or that would replace what is read, before the first is written.
void check_outputs(const PredictArguments& predict, const EvaluationInput& input) {
  for (const EvaluationSplit& split : input.splits) {
    std::vector<fs::path> inputs = split.dataset.files;
    inputs.push_back(predict.evaluation.model);
    const fs::path logits = logits_file(predict, input, split),
                   answers = predict.output_dir / prediction_file_name(input.task, split.dataset.split);
    require_outside_inputs("output_dir", answers, split.dataset.files);
    require_writable(answers);
    if (logits.empty()) continue;
    require_outside_inputs("logits", logits, inputs);
    require_writable(logits);
  }
}

/// The files written for one split.
nlohmann::ordered_json predict_split(const PredictArguments& predict, const EvaluationInput& input,
                                     const EvaluationSplit& split, const std::vector<double>& logits) {
  nlohmann::ordered_json written = {{"split", split.dataset.split}, {"samples", split.tokens.size()}};
  written["file"] = write_predictions(input.task, split.dataset, logits, predict.output_dir).string();
  const fs::path file = logits_file(predict, input, split);
  if (!file.empty()) {
    write_logits(split.dataset, logits, file);
    written["logits"] = file.string();
  }
  return written;
}

nlohmann::ordered_json predict_all(const PredictArguments& predict, const EvaluationInput& input,
                                   const Console& console) {
  Progress progress("Predicting", input.num_examples(), "example",
                    ProgressOutput::standard_error(console.quiet()));
  std::vector<std::vector<double>> logits;
  int64_t num_done = 0;
  for (const EvaluationSplit& split : input.splits) {
    const EvaluationProgress show = [&](int64_t done) {
      progress.update(num_done + done);
      return true;
    };
    logits.push_back(
        compute_logits(input.model.bert, split.tokens, predict.evaluation.batch_size, show).value());
    check_finite(split.dataset, logits.back());
    num_done += split.tokens.size();
  }
  progress.update(num_done);
  progress.finish();
  nlohmann::ordered_json written = nlohmann::ordered_json::array();
  for (size_t i = 0; i < logits.size(); ++i) {
    written.push_back(predict_split(predict, input, input.splits[i], logits[i]));
  }
  return written;
}

}  // namespace

int run_predict(Arguments arguments) {
  PredictArguments predict;
  Options options("predict",
                  "Writes a fine-tuned model's answers to a split, as the GLUE server takes them.");
  add_evaluation_options(options, predict.evaluation);
  options.group("Output");
  options.path("output_dir", predict.output_dir, "DIR", "where the predictions are written");
  options.boolean("overwrite_output_dir", predict.overwrite_output_dir,
                  "writes into a folder that is not empty");
  options.path("logits", predict.logits, "FILE.jsonl", "also writes the logits of each row");
  add_common_options(options, predict.evaluation.common);
  if (!options.parse(arguments)) return 0;
  apply_common_options(predict.evaluation.common);
  require_model(options, predict.evaluation.model);
  fit_sequence_length(options, predict.evaluation.model, predict.evaluation.max_seq_length);
  options.require("output_dir");
  if (!predict.overwrite_output_dir) require_empty_run_folder(predict.output_dir);
  require_replaceable(predict.logits);

  const Console console = predict.evaluation.common.console();
  const EvaluationInput input = load_evaluation_input(predict.evaluation, console);
  const FolderLock lock(predict.output_dir);
  check_outputs(predict, input);
  const nlohmann::ordered_json written = predict_all(predict, input, console);
  for (const nlohmann::ordered_json& split : written) {
    console.result(fmt::format("{}: {} rows of {}", split["file"].get<std::string>(),
                               split["samples"].get<int64_t>(), split["split"].get<std::string>()));
    if (split.contains("logits"))
      console.result(fmt::format("{}: their logits", split["logits"].get<std::string>()));
  }
  console.document({{"task", input.task.name}, {"predictions", written}});
  return 0;
}

}  // namespace normtune
