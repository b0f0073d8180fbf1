#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "experiments/comparison_plan.h"
#include "experiments/run_execution.h"
#include "experiments/run_progress.h"

namespace normtune {

/// Does what is missing of a list of runs, several at a time, each in a process of its own.
///
/// A run that fails does not stop the others. A run that another process works on is left to it: the pool
/// does the others, and waits for it at the end. SIGINT and SIGTERM are passed on to the runs under way,
/// which write checkpoints; the pool waits for them and starts no more.
class RunPool {
 public:
  /// `runs` and `options` must outlive the pool.
  RunPool(std::span<const ComparedRun* const> runs, const ComparisonOptions& options, ProgressOutput output);

  struct Outcome {
    int interrupted_by = 0;            ///< SIGINT or SIGTERM; else 0
    bool budget_spent = false;         ///< runs were left because the time for them was over
    int64_t num_executed = 0;          ///< runs that were finished by this call
    std::optional<int> first_failure;  ///< exit code of the first run that failed
  };
  Outcome run();

 private:
  void sort_out_finished();
  void start_runs();
  void poll_runs();
  void pass_on_signal();
  void report_finished(const RunExecution& execution);
  void report_failed(const RunExecution& execution);
  std::optional<double> seconds_left() const;

  bool is_over_budget();

  const ComparisonOptions& options_;
  Progress::Clock::time_point start_ = Progress::Clock::now();
  std::vector<const ComparedRun*> waiting_;
  std::vector<const ComparedRun*> locked_;  // by another process
  std::vector<std::unique_ptr<RunExecution>> running_;
  Progress::Clock::time_point last_lock_check_ = Progress::Clock::now();
  RunTimes times_;
  int64_t total_, done_ = 0;
  RunProgress progress_;
  Outcome outcome_;
};

/// `cola layernorm seed 1 learning rate 0.001`
std::string describe_run(const ComparedRun& run);

}  // namespace normtune
