#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/child_process.h"
#include "experiments/comparison_plan.h"
#include "experiments/run_lock.h"
#include "experiments/run_store.h"

namespace normtune {

/// How the attempt at a run ended.
enum class RunEnd { finished, failed, stopped };

/// One run under way: a locked folder and a child process, first `finetune` (which goes on from a checkpoint
/// if there is one), then, for another report split than dev, `evaluate`, then what is measured of the model:
/// `drift`, `fisher`.
class RunExecution {
 public:
  /// Null if another process works on this run, or has just finished it.
  static std::unique_ptr<RunExecution> try_start(const ComparedRun& run, const ComparisonOptions& options);

  /// Looks after the child. Nothing while the run is under way.
  std::optional<RunEnd> poll();
  /// Passes a signal on: the child writes a checkpoint and ends.
  void stop(int signal_number);

  const ComparedRun& run() const { return run_; }
  /// Seconds since it was started.
  double elapsed() const;

 private:
  RunExecution(const ComparedRun& run, const ComparisonOptions& options, std::unique_ptr<RunLock> lock);
  void start_finetune();
  void start_evaluate();
  void start_measurement(const std::string& name);
  /// Begins what is still to be done; false if that is nothing.
  bool start_next();
  std::optional<RunEnd> after_exit(int exit_code);
  RunEnd finish();
  RunEnd fail_run(int exit_code);
  void start(std::vector<std::string> arguments, const std::filesystem::path& output);

  const ComparedRun& run_;
  const ComparisonOptions& options_;
  RunFolder folder_;
  std::unique_ptr<RunLock> lock_;
  std::unique_ptr<ChildProcess> child_;  // goes before the lock
  bool finetuning_ = true, evaluated_ = false;
  std::string measuring_;  // the file that the child prints, if it measures
  bool resumed_ = false;
  int stop_signal_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace normtune
