#include "experiments/compare.h"

#include <algorithm>

#include "experiments/interrupt.h"
#include "nn/atomic_file.h"
#include "nn/tensor_file.h"
#include "tensor/error.h"

namespace normtune {

namespace {

std::vector<const ComparedRun*> runs_of_shard(const Shard& shard, std::span<const ComparedRun> runs) {
  std::vector<const ComparedRun*> chosen;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (in_shard(shard, i)) chosen.push_back(&runs[i]);
  }
  return chosen;
}

/// Where a file is missing, the record of it does for a table, but not for a run.
void require_files(const ComparisonOptions& options, const ComparisonInputs& inputs,
                   std::span<const ComparedRun> runs) {
  if (!inputs.recorded) return;
  for (const ComparedRun& run : runs) {
    if (RunFolder(run).state() == RunState::finished) continue;
    fail(ErrorKind::model,
         "the model or a task's data are not there (--model_name_or_path {}, --glue_dir {}), but {} is still "
         "to be "
         "done",
         options.finetune.model_name_or_path.string(), options.finetune.task.glue_dir.string(),
         describe_run(run));
  }
}

void write_tables(const ComparisonOptions& options, const ComparisonResult& result) {
  const std::filesystem::path& folder = options.output_dir;
  const std::unique_ptr<RunLock> lock = RunLock::wait_for(folder);  // others may write the same
  write_file_atomically(folder / "table.csv", score_table_csv(*result.table));
  write_file_atomically(folder / "comparisons.csv", method_comparisons_csv(result.comparisons));
  write_file_atomically(folder / "table.tex", result.report.latex);
  write_file_atomically(folder / "table.md", result.report.markdown);
}

std::vector<Baseline> baselines_of(const ComparisonOptions& options) {
  return options.baselines.empty() ? std::vector<Baseline>() : read_baselines(options.baselines);
}

}  // namespace

int64_t PlannedComparison::num_open() const {
  return std::count_if(runs.begin(), runs.end(), [](const ComparedRun& run) {
    const RunState state = RunFolder(run).state();
    return state == RunState::missing || state == RunState::interrupted;
  });
}

PlannedComparison plan_comparison(ComparisonOptions& options) {
  check_comparison_options(options);
  PlannedComparison plan{.inputs = read_comparison_inputs(options), .runs = {}};
  check_mask_file(options);
  plan.runs = plan_runs(options, plan.inputs);
  return plan;
}

RunPool::Outcome do_runs(const ComparisonOptions& options, const PlannedComparison& plan,
                         const ProgressOutput& progress) {
  require_files(options, plan.inputs, plan.runs);
  make_folder(options.output_dir);
  write_comparison_inputs(options, plan.inputs);
  return RunPool(runs_of_shard(options.shard, plan.runs), options, progress).run();
}

ComparisonResult compare(ComparisonOptions options, const ProgressOutput& progress) {
  const std::vector<Baseline> baselines = baselines_of(options);
  const PlannedComparison plan = plan_comparison(options);
  const RunPool::Outcome outcome = do_runs(options, plan, progress);
  ComparisonResult result{.interrupted_by = outcome.interrupted_by,
                          .first_failure = outcome.first_failure,
                          .num_runs = static_cast<int64_t>(plan.runs.size()),
                          .num_open = plan.num_open()};
  if (result.interrupted_by != 0 || result.num_open > 0) return result;
  result.table = make_score_table(options, plan.runs);
  result.comparisons = compare_methods(*result.table);
  result.report = make_comparison_report(*result.table, result.comparisons, baselines);
  write_tables(options, result);
  if (options.costs) {
    result.costs = measure_costs(options, plan.inputs, progress);
    result.interrupted_by = InterruptGuard::signal();
    if (result.interrupted_by != 0) return result;
    if (!result.costs.empty()) {
      const std::unique_ptr<RunLock> lock = RunLock::wait_for(options.output_dir);
      write_file_atomically(options.output_dir / "costs.csv", method_costs_csv(result.costs));
    }
  }
  return result;
}

std::vector<RunListing> list_runs(ComparisonOptions options) {
  return list_runs(options.shard, plan_comparison(options).runs);
}

std::vector<RunListing> list_runs(const Shard& shard, std::span<const ComparedRun> runs) {
  RunTimes times;
  for (const ComparedRun& run : runs) {
    if (const std::optional<RunResult> result = RunFolder(run).result())
      times.add(run, result->train_seconds);
  }
  std::vector<RunListing> listings;
  for (const ComparedRun* run : runs_of_shard(shard, runs)) {
    RunListing listing{.run = *run, .state = RunFolder(*run).state()};
    listing.locked = RunLock::is_locked(run->options.output_dir);
    if (listing.state != RunState::finished) listing.estimated_seconds = times.estimate(*run);
    listings.push_back(std::move(listing));
  }
  return listings;
}

}  // namespace normtune
