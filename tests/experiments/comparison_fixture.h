#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "experiments/comparison_plan.h"
#include "nn/json_file.h"
#include "tests/experiments/fixtures.h"

/// Comparisons whose runs are written down instead of done.
namespace normtune::comparison {

/// Two tasks whose files are known by invented hashes.
inline ComparisonInputs inputs() {
  const auto task = [](const std::string& metric, const std::string& mark) {
    return TaskInputs{.metric = metric,
                      .hashes = {{"train", {mark + "-train"}},
                                 {"dev", nlohmann::json::array({{mark + "-dev"}})},
                                 {"test_labelled", nlohmann::json::array({{mark + "-test"}})}},
                      .train_rows = 100,
                      .train_characters = 2000};
  };
  return {.model = {{"weights", "w"}, {"config.json", "c"}, {"vocab.txt", "v"}},
          .tasks = {{"cola", task("matthews_correlation", "a")}, {"sst2", task("accuracy", "b")}}};
}

inline ComparisonOptions options(const std::filesystem::path& output_dir) {
  ComparisonOptions options{
      .tasks = {"cola", "sst2"}, .rows = {"full", "head"}, .seeds = {1, 2}, .output_dir = output_dir};
  options.finetune.model_name_or_path = "model";
  options.finetune.task.glue_dir = "glue";
  options.finetune.output_dir = output_dir;
  return options;
}

/// Writes the result file of a finished run with these scores (null: undefined).
inline void write_result(const ComparedRun& run, std::optional<double> dev, std::optional<double> report,
                         const std::string& split = "test_labelled") {
  const auto scores = [&](std::optional<double> score) {
    return nlohmann::json{{"eval_" + run.metric, score ? nlohmann::json(*score) : nlohmann::json()}};
  };
  std::filesystem::create_directories(run.options.output_dir);
  nlohmann::json evaluations = {{"dev", scores(dev)}};
  if (split != "dev") evaluations[split] = scores(report);
  write_json_file(run.options.output_dir / "run.json", {{"id", run.id},
                                                        {"evaluations", evaluations},
                                                        {"degenerate", !dev || !report},
                                                        {"trainable_parameters", 50},
                                                        {"total_parameters", 1000},
                                                        {"train_seconds", 2.0}});
}

}  // namespace normtune::comparison
