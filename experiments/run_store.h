#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "experiments/comparison_plan.h"

namespace normtune {

/// Scores of a finished run.
struct RunResult {
  nlohmann::json evaluations;  ///< by split: what finetune and evaluate say, `eval_<metric>`, ...
  int64_t trainable_parameters = 0, total_parameters = 0;
  double train_seconds = 0;
  bool degenerate = false;  ///< it answers the same to every row of dev

  /// The metric on a split; none where it is not defined (constant predictions). `mean_accuracy` is the mean
  /// of MNLI's two. Throws Error(data) if the run has no such score.
  std::optional<double> score(const std::string& split, const std::string& metric) const;
};

/// A JSON object that a run has kept in its folder. Throws Error(data), with what to do, if it is damaged.
nlohmann::json read_run_file(const std::filesystem::path& file);

/// Why a run ended without result.
struct RunFailure {
  int exit_code = 1;
  std::string error;
};

enum class RunState { missing, interrupted, failed, finished };

/// The state as tables and JSON name it.
const char* state_name(RunState state);

/// The folder `runs/ID/` of a run. What lies in it:
///   run.json             the run as a value, and its scores: a run that has it is finished
///   all_results.json, metrics.jsonl, predictions.jsonl   as finetune writes them
///   drift.json, fisher.json   what was measured of its model (of runs that keep it; the run is finished with
///                        them alone), component by component
///   outcomes.json        what its predictions are worth, example by example (experiments/run_outcomes.h)
///   failure.json         instead: why it failed
///   log.txt              what the run said, while it is not finished
/// and until the run is finished (or if models are kept) model and checkpoints.
class RunFolder {
 public:
  explicit RunFolder(const ComparedRun& run) : run_(run), path_(run.options.output_dir) {}

  RunState state() const;
  /// Nothing if the run is not finished. Throws Error(data) for a malformed run.json.
  std::optional<RunResult> result() const;
  std::optional<RunFailure> failure() const;

  std::filesystem::path log() const { return path_ / "log.txt"; }
  /// What evaluate prints goes here first.
  std::filesystem::path evaluation() const { return path_ / "evaluation.json"; }
  /// What drift and fisher print, tensor by tensor, goes here before it is pooled.
  std::filesystem::path printed(const std::string& measurement) const {
    return path_ / ("printed-" + measurement);
  }
  /// Writes a measurement as it is kept: without the list of single tensors, and without folders.
  void keep_measurement(const std::string& measurement) const;
  /// Measurements that the run is to keep and has not kept yet.
  std::vector<std::string> missing_measurements() const;
  /// Those of an attempt that did not come to its end.
  void remove_measurements() const;
  /// It was finished without a measurement that is now wanted: only doing it again brings its model back.
  bool lacks_measurements() const;

  /// Writes run.json, which makes the run a finished one, and cleans up. `command` is what made it.
  void finish(const std::vector<std::string>& command, const std::string& program_version,
              const std::string& report_split, bool keep_model) const;
  /// Removes what a finished run does not need: model, checkpoints, events, and what other files repeat. A
  /// run that was to keep its model keeps it.
  void clean() const;
  /// A kill came between the two.
  bool needs_cleaning() const;
  void write_failure(const RunFailure& failure) const;
  /// Removes what an attempt left, so that the next one begins anew.
  void clear() const;

 private:
  std::vector<std::filesystem::path> surplus_files() const;

  const ComparedRun& run_;
  std::filesystem::path path_;
};

}  // namespace normtune
