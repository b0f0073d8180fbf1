#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/comparison_options.h"
#include "experiments/comparison_plan.h"
#include "experiments/comparison_report.h"
#include "experiments/method_cost.h"
#include "experiments/run_pool.h"
#include "experiments/run_progress.h"
#include "experiments/run_store.h"

namespace normtune {

/// The runs of a comparison, and what they read.
struct PlannedComparison {
  ComparisonInputs inputs;
  std::vector<ComparedRun> runs;  ///< of all shards

  /// Runs that are neither finished nor failed.
  int64_t num_open() const;
};

/// Checks the options and reads the files. Throws as compare() does.
PlannedComparison plan_comparison(ComparisonOptions& options);
/// Does what is missing of the shard. Throws Error(model) if the files are not there that this takes,
/// Error(write).
RunPool::Outcome do_runs(const ComparisonOptions& options, const PlannedComparison& plan,
                         const ProgressOutput& progress);

/// What a comparison gave.
struct ComparisonResult {
  int interrupted_by = 0;            ///< SIGINT or SIGTERM if that stopped it; else 0
  std::optional<int> first_failure;  ///< exit code of the first run that failed
  int64_t num_runs = 0;              ///< of all shards
  int64_t num_open = 0;              ///< of these, runs that nobody has tried yet

  // What follows exists once no run is open.
  std::optional<ScoreTable> table;
  std::vector<MethodComparison> comparisons;
  std::vector<MethodCost> costs;  ///< empty if none are wanted
  ComparisonReport report;
};

/// Compares methods on tasks: does the runs that are missing in the output folder, then writes there
/// `table.csv`, `table.md`, `table.tex`, `comparisons.csv` and `costs.csv`. A finished run is never repeated,
/// one that was interrupted goes on from its checkpoint, one that failed is tried again and does not stop the
/// others. Several processes may work in one folder. The same runs give the same tables, byte by byte,
/// whatever was interrupted or done side by side; only the costs are of the machine.
///
/// Throws Error(usage), Error(model), Error(data) for what is wrong from the beginning, Error(write).
ComparisonResult compare(ComparisonOptions options, const ProgressOutput& progress);

/// A run of the plan and how far it is.
struct RunListing {
  ComparedRun run;
  RunState state = RunState::missing;
  bool locked = false;                      ///< a process works on it
  std::optional<double> estimated_seconds;  ///< of an unfinished run
};

/// The runs of the shard, without doing any.
std::vector<RunListing> list_runs(ComparisonOptions options);
std::vector<RunListing> list_runs(const Shard& shard, std::span<const ComparedRun> runs);

}  // namespace normtune
