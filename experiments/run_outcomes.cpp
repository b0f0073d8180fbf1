#include "experiments/run_outcomes.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "experiments/component_measurements.h"
#include "experiments/run_store.h"
#include "experiments/task_data.h"
#include "nn/atomic_file.h"
#include "nn/json_file.h"
#include "nn/mapped_file.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* file_name = "outcomes.json";

/// Signs drawn for a test over examples, which are far too many to enumerate.
constexpr int64_t num_draws = 10000;

std::vector<fs::path> prediction_files(const ComparedRun& run) {
  std::vector<fs::path> files;
  for (const char* name : {"predictions.jsonl", "predictions_mm.jsonl"}) {
    if (fs::exists(run.options.output_dir / name)) files.push_back(run.options.output_dir / name);
  }
  return files;
}

std::vector<std::vector<double>> read_logits(const fs::path& file) {
  std::istringstream lines(read_file(file, ErrorKind::data));
  std::vector<std::vector<double>> logits;
  for (std::string line; std::getline(lines, line);) {
    const auto number = static_cast<int64_t>(logits.size()) + 1;
    logits.push_back(parse_json(line, file.string(), ErrorKind::data, number).at("logits"));
  }
  return logits;
}

void add_outcomes(const Dataset& dataset, const std::vector<std::vector<double>>& logits,
                  RunOutcomes& outcomes) {
  for (size_t i = 0; i < logits.size(); ++i) {
    const Example& example = dataset.examples[i];
    if (dataset.regression) {
      const double error = logits[i].front() - example.target;
      outcomes.squared_errors.push_back(error * error);
    } else {
      const auto largest = std::max_element(logits[i].begin(), logits[i].end()) - logits[i].begin();
      outcomes.correct.push_back(largest == example.label);
    }
  }
}

/// Nothing if predictions and rows are not about the same examples.
std::optional<RunOutcomes> make_outcomes(const ComparedRun& run, const std::vector<Dataset>& dev) {
  const std::vector<fs::path> files = prediction_files(run);
  if (files.size() != dev.size()) return std::nullopt;
  RunOutcomes outcomes;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::vector<std::vector<double>> logits = read_logits(files[i]);
    if (logits.size() != dev[i].examples.size()) return std::nullopt;
    add_outcomes(dev[i], logits, outcomes);
  }
  return outcomes;
}

void write_outcomes(const ComparedRun& run, const RunOutcomes& outcomes) {
  json document = json::object();
  if (!outcomes.correct.empty()) {
    std::string digits;
    for (const bool correct : outcomes.correct) digits += correct ? '1' : '0';
    document["correct"] = digits;
  } else {
    std::vector<std::string> numbers;
    for (const double error : outcomes.squared_errors) numbers.push_back(fmt::format("{:.6g}", error));
    document["squared_errors"] = fmt::format("{}", fmt::join(numbers, " "));
  }
  write_file_atomically(run.options.output_dir / file_name, document.dump() + "\n");
}

/// The dev rows of a run's task; empty if they are not there.
std::vector<Dataset> load_dev(const ComparedRun& run) {
  try {
    return load_task_splits(run.options.task, "dev", {}).splits;
  } catch (const Error&) {
    return {};  // what was read when the runs were made may be gone: tables do not need it
  }
}

OutcomeComparison compare_run(const RunOutcomes& a, const RunOutcomes& b) {
  OutcomeComparison comparison;
  if (!a.correct.empty()) {
    const McNemarTest test = mcnemar_test(a.correct, b.correct);
    comparison.examples = static_cast<int64_t>(a.correct.size());
    comparison.only_a = test.only_first;
    comparison.only_b = test.only_second;
    comparison.p = test.p;
    return comparison;
  }
  PairedDifferences differences(1);
  for (size_t i = 0; i < a.squared_errors.size(); ++i) {
    const double difference = b.squared_errors[i] - a.squared_errors[i];
    differences[0].push_back(difference);
    comparison.only_a += difference > 0 ? 1 : 0;
    comparison.only_b += difference < 0 ? 1 : 0;
  }
  comparison.examples = static_cast<int64_t>(a.squared_errors.size());
  comparison.p = sign_flip_test(differences, num_draws).p;
  return comparison;
}

using RunKey = std::pair<std::string, uint64_t>;

std::map<RunKey, RunOutcomes> outcomes_of_row(const std::string& row, const ScoreTable& table,
                                              std::span<const ComparedRun> runs) {
  std::map<RunKey, RunOutcomes> outcomes;
  for (const ComparedRun& run : runs) {
    if (run.row != row || !is_in_table(run, table)) continue;
    if (std::optional<RunOutcomes> found = read_outcomes(run)) {
      outcomes[{run.task, run.options.seed}] = std::move(*found);
    }
  }
  return outcomes;
}

}  // namespace

void keep_outcomes(std::span<const ComparedRun> runs) {
  std::map<std::string, std::vector<Dataset>> dev;
  for (const ComparedRun& run : runs) {
    if (RunFolder(run).state() != RunState::finished || fs::exists(run.options.output_dir / file_name))
      continue;
    if (!dev.contains(run.task)) dev[run.task] = load_dev(run);
    if (const std::optional<RunOutcomes> outcomes = make_outcomes(run, dev[run.task]))
      write_outcomes(run, *outcomes);
  }
}

std::optional<RunOutcomes> read_outcomes(const ComparedRun& run) {
  const fs::path file = run.options.output_dir / file_name;
  if (!fs::exists(file)) return std::nullopt;
  const json document = read_run_file(file);
  RunOutcomes outcomes;
  for (const char digit : document.value("correct", "")) outcomes.correct.push_back(digit == '1');
  std::istringstream numbers(document.value("squared_errors", ""));
  for (double number = 0; numbers >> number;) outcomes.squared_errors.push_back(number);
  return outcomes;
}

std::vector<OutcomeComparison> compare_outcomes(const std::string& a, const std::string& b,
                                                const ScoreTable& table, std::span<const ComparedRun> runs) {
  const auto first = outcomes_of_row(a, table, runs), second = outcomes_of_row(b, table, runs);
  std::vector<OutcomeComparison> comparisons;
  std::vector<double> p_values;
  for (const auto& [run, outcomes] : first) {
    const auto other = second.find(run);
    if (other == second.end() || other->second.correct.size() != outcomes.correct.size() ||
        other->second.squared_errors.size() != outcomes.squared_errors.size()) {
      continue;
    }
    OutcomeComparison comparison = compare_run(outcomes, other->second);
    comparison.a = a;
    comparison.b = b;
    std::tie(comparison.task, comparison.seed) = run;
    p_values.push_back(comparison.p);
    comparisons.push_back(comparison);
  }
  const std::vector<double> corrected = holm_correction(p_values);
  for (size_t i = 0; i < comparisons.size(); ++i) comparisons[i].corrected_p = corrected[i];
  return comparisons;
}

std::string outcome_comparisons_csv(const std::vector<OutcomeComparison>& comparisons) {
  std::string text = "a,b,task,seed,examples,only_a,only_b,p,corrected_p\n";
  for (const OutcomeComparison& comparison : comparisons) {
    text += fmt::format("{},{},{},{},{},{},{},{},{}\n", comparison.a, comparison.b, comparison.task,
                        comparison.seed, comparison.examples, comparison.only_a, comparison.only_b,
                        comparison.p, comparison.corrected_p);
  }
  return text;
}

}  // namespace normtune
