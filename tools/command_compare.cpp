#include <fmt/format.h>
#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>

#include "experiments/compare.h"
#include "tools/commands.h"
#include "tools/comparison_arguments.h"
#include "tools/console.h"
#include "tools/model_options.h"
#include "tools/results.h"

namespace normtune {

namespace {

using Json = nlohmann::ordered_json;

// ---- Output

int print_plan(const Console& console, const ComparisonOptions& options) {
  TableRows rows = {{"run", "task", "method", "seed", "learning rate", "state", "estimate"}};
  Json runs = Json::array();
  double seconds = 0;
  bool all_known = true;
  for (const RunListing& listing : list_runs(options)) {
    const ComparedRun& run = listing.run;
    const std::optional<double>& estimate = listing.estimated_seconds;
    if (listing.state != RunState::finished) all_known = all_known && estimate.has_value();
    seconds += estimate.value_or(0);
    rows.push_back({run.id, run.task, run.row, fmt::format("{}", run.options.seed),
                    fmt::format("{}", run.options.learning_rate), state_name(listing),
                    estimate ? format_duration(*estimate) : ""});
    runs.push_back({{"id", run.id},
                    {"task", run.task},
                    {"method", run.row},
                    {"seed", run.options.seed},
                    {"learning_rate", run.options.learning_rate},
                    {"state", state_name(listing)},
                    {"estimated_seconds", estimate ? Json(*estimate) : Json()}});
  }
  console.result(format_table(rows));
  const std::string left = format_duration(seconds / static_cast<double>(options.jobs));
  console.result(all_known ? fmt::format("about {} with --jobs {}", left, options.jobs)
                           : "how long it takes is known once a run has finished");
  console.document({{"runs", runs}});
  return 0;
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json table_json(const ComparisonResult& result) {
  Json cells = Json::array(), comparisons = Json::array();
  for (const ScoreCell& cell : result.table->cells) {
    cells.push_back({{"method", cell.row},
                     {"task", cell.task},
                     {"metric", cell.metric},
                     {"split", result.table->split},
                     {"learning_rate", or_null(cell.learning_rate)},
                     {"mean", or_null(cell.summary.mean)},
                     {"sd", or_null(cell.summary.sd)},
                     {"n", cell.summary.n},
                     {"failed", cell.failed},
                     {"trainable_parameters", cell.trainable_parameters},
                     {"total_parameters", cell.total_parameters}});
  }
  for (const MethodComparison& comparison : result.comparisons) {
    comparisons.push_back({{"a", comparison.a},
                           {"b", comparison.b},
                           {"task", comparison.task},
                           {"difference", or_null(comparison.difference)},
                           {"standard_error", or_null(comparison.standard_error)},
                           {"verdict", to_string(comparison.verdict)}});
  }
  return {{"table", cells}, {"comparisons", comparisons}};
}

Json costs_json(const std::vector<MethodCost>& costs) {
  Json list = Json::array();
  for (const MethodCost& cost : costs) {
    list.push_back({{"method", cost.method},
                    {"ms_per_step", cost.ms_per_step},
                    {"peak_rss_bytes", cost.peak_rss_bytes},
                    {"peak_device_bytes", or_null(cost.peak_device_bytes)},
                    {"threads", cost.threads},
                    {"cpu", cost.cpu},
                    {"date", cost.date}});
  }
  return list;
}

/// Says so if the machine was busy when the costs were measured.
std::string disturbance_note(const std::vector<MethodCost>& costs) {
  double load = 0;
  for (const MethodCost& cost : costs) load = std::max(load, cost.other_load);
  if (load <= disturbing_load) return "";
  return fmt::format(
      "measured while other processes kept up to {:.1f} cores busy: not to be relied on "
      "(remove costs/ to measure again)\n",
      load);
}

/// Time and memory of each method, and their share of what full fine-tuning takes.
std::string cost_table(const std::vector<MethodCost>& costs) {
  const auto full =
      std::find_if(costs.begin(), costs.end(), [](const MethodCost& cost) { return cost.method == "full"; });
  TableRows rows = {{"cost", "ms per step", "peak memory"}};
  if (full != costs.end()) rows[0].insert(rows[0].end(), {"time / full", "memory / full"});
  for (const MethodCost& cost : costs) {
    const auto bytes = static_cast<double>(cost.peak_rss_bytes);
    rows.push_back({cost.method, fmt::format("{:.1f}", cost.ms_per_step), format_bytes(bytes)});
    if (full == costs.end()) continue;
    rows.back().push_back(fmt::format("{:.2f}", cost.ms_per_step / full->ms_per_step));
    rows.back().push_back(fmt::format("{:.2f}", bytes / static_cast<double>(full->peak_rss_bytes)));
  }
  return format_table(rows) +
         fmt::format("{} threads of {}, {}\n", costs.front().threads, costs.front().cpu, costs.front().date) +
         disturbance_note(costs);
}

int report_stop(const ComparisonResult& result) {
  print_error(fmt::format("interrupted by {}; {} of {} runs are not finished: repeat the command to continue",
                          result.interrupted_by == SIGINT ? "SIGINT" : "SIGTERM", result.num_open,
                          result.num_runs));
  return 128 + result.interrupted_by;
}

void print_result(const Console& console, const ComparisonOptions& options, const ComparisonResult& result) {
  if (!result.table) {
    console.result(fmt::format(
        "{} of {} runs are left to other shards; when all are done, the same command without --shard makes "
        "the table",
        result.num_open, result.num_runs));
    console.document({{"open_runs", result.num_open}, {"runs", result.num_runs}});
    return;
  }
  console.result(result.report.text);
  if (!result.costs.empty()) console.result("\n" + cost_table(result.costs));
  console.result(fmt::format("\nwritten: table.md, table.csv, table.tex, comparisons.csv{} in {}",
                             !result.costs.empty() ? ", costs.csv" : "", options.output_dir.string()));
  Json document = table_json(result);
  document["costs"] = costs_json(result.costs);
  console.document(document);
}

}  // namespace

int run_compare(Arguments arguments) {
  ComparisonArguments compare_arguments;
  Options options("compare", "Fine-tunes by several methods on several tasks and makes the table of scores.");
  add_comparison_options(options, compare_arguments);
  add_finetune_options(options, compare_arguments.finetune);
  hide_single_choices(options);
  if (!options.parse(arguments)) return 0;
  refuse_single_choices(options, compare_arguments);
  apply_common_options(compare_arguments.finetune.common);
  const ComparisonOptions comparison = resolve_comparison(compare_arguments);
  require_model(options, comparison.finetune.model_name_or_path);
  options.require("output_dir");

  const Console console = compare_arguments.finetune.common.console();
  if (compare_arguments.dry_run) return print_plan(console, comparison);
  const ComparisonResult result = compare(comparison, comparison.finetune.progress);
  if (result.interrupted_by != 0) return report_stop(result);
  print_result(console, comparison, result);
  return result.first_failure.value_or(0);
}

}  // namespace normtune
