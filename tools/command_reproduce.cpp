#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "experiments/experiment.h"
#include "experiments/run_estimate.h"
#include "tools/commands.h"
#include "tools/comparison_arguments.h"
#include "tools/console.h"
#include "tools/model_options.h"
#include "tools/results.h"

namespace normtune {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct ReproduceArguments {
  ComparisonArguments comparison;
  std::string scale = "large";
  ExperimentOptions experiment;
};

/// The folder with the experiments and scales that came with the program.
fs::path program_experiments() {
  const char* folder = std::getenv("NORMTUNE_EXPERIMENTS");
  return folder != nullptr && *folder != '\0' ? folder : NORMTUNE_EXPERIMENTS_FOLDER;
}

void add_reproduce_options(Options& options, ReproduceArguments& arguments) {
  ExperimentOptions& experiment = arguments.experiment;
  options.group("Experiment");
  options.shared_config(
      "scale", arguments.scale, "large|small|pocket",
      "reads model, tasks, seeds and rates from scale_NAME.toml beside the experiment's file, or of the "
      "program",
      program_experiments());
  options.text("experiment", experiment.name, "NAME", "the folder of its report in --output_dir");
  options.text("claim", experiment.claim, "TEXT", "what is tested, in plain words");
  options.text("measures", experiment.measures, "TEXT", "what is done, in plain words");
  options.text("caveats", experiment.caveats, "TEXT", "what these data cannot show");
  options.list("statements", experiment.statements, "STATEMENT,...",
               "what decides: 'ROW > ROW', 'ROW >= ROW - POINTS', 'drift COMPONENT > layers', 'fisher ...'");
  KeptMeasurements& keep = arguments.comparison.options.keep;
  options.list("keep_drift", keep.drift_rows, "METHOD,...",
               "runs of these rows keep the change from the start model");
  options.list("keep_fisher", keep.fisher_rows, "METHOD,...",
               "runs of these rows keep their Fisher information");
  options.integer("fisher_samples", keep.fisher_samples, at_least_1, "training rows for Fisher information");
  options.number("budget", arguments.comparison.options.budget, at_least_0,
                 "minutes after which no run is started; 0: none");
}

/// Baselines may lie beside the experiment's file, or beside the scale's.
fs::path find_baselines(const fs::path& baselines, const fs::path& config) {
  if (baselines.empty() || fs::exists(baselines)) return baselines;
  for (const fs::path& folder : {config.parent_path(), program_experiments()}) {
    if (fs::exists(folder / baselines)) return folder / baselines;
  }
  return baselines;
}

ExperimentOptions resolve_experiment(const ReproduceArguments& arguments, Arguments command) {
  ExperimentOptions options = arguments.experiment;
  options.comparison = resolve_comparison(arguments.comparison);
  if (options.comparison.output_dir.empty()) options.comparison.output_dir = "reproduced";
  options.command.assign(command.begin(), command.end());
  return options;
}

// ---- The plan

TableRows plan_rows(const std::vector<EstimatedRun>& runs) {
  TableRows rows = {{"run", "task", "method", "seed", "learning rate", "state", "TFLOP", "time", "memory"}};
  for (const EstimatedRun& listed : runs) {
    const bool open = listed.state != RunState::finished;
    rows.push_back({listed.has_id ? listed.run.id : "-", listed.run.task, listed.run.row,
                    fmt::format("{}", listed.run.options.seed),
                    fmt::format("{}", listed.run.options.learning_rate), state_name(listed.state),
                    fmt::format("{:.3g}", listed.estimate.tflop),
                    open ? format_duration(listed.estimate.seconds) : "",
                    open ? format_bytes(static_cast<double>(listed.estimate.memory_bytes)) : ""});
  }
  return rows;
}

Json plan_json(const std::vector<EstimatedRun>& runs) {
  Json list = Json::array();
  for (const EstimatedRun& listed : runs) {
    list.push_back({{"id", listed.has_id ? Json(listed.run.id) : Json()},
                    {"task", listed.run.task},
                    {"method", listed.run.row},
                    {"seed", listed.run.options.seed},
                    {"learning_rate", listed.run.options.learning_rate},
                    {"state", state_name(listed.state)},
                    {"estimated_tflop", listed.estimate.tflop},
                    {"estimated_seconds", listed.estimate.seconds},
                    {"estimated_memory_bytes", listed.estimate.memory_bytes}});
  }
  return list;
}

int print_plan(const Console& console, const ComparisonOptions& options) {
  const std::vector<EstimatedRun> runs = estimate_runs(options);
  double seconds = 0, tflop = 0, memory = 0;
  int64_t open = 0;
  for (const EstimatedRun& listed : runs) {
    if (listed.state == RunState::finished) continue;
    ++open;
    seconds += listed.estimate.seconds;
    tflop += listed.estimate.tflop;
    memory = std::max(memory, static_cast<double>(listed.estimate.memory_bytes));
  }
  console.result(format_table(plan_rows(runs)));
  const double hours_at_20 = tflop / 20 / 3600;
  console.result(fmt::format(
      "{} of {} runs are to be done: {:.4g} TFLOP of training, about {} on this machine with --jobs {}, or "
      "{:.1f} hours of a "
      "GPU that sustains 20 TFLOP/s; up to {} for a run. Evaluation and measurements come on top.",
      open, runs.size(), tflop, format_duration(seconds / static_cast<double>(options.jobs)), options.jobs,
      hours_at_20, format_bytes(memory)));
  console.document({{"runs", plan_json(runs)}});
  return 0;
}

// ---- The result

int report_stop(const ExperimentResult& result) {
  print_error(fmt::format("interrupted by {}; {} of {} runs are not finished: repeat the command to continue",
                          result.interrupted_by == SIGINT ? "SIGINT" : "SIGTERM", result.num_open,
                          result.num_runs));
  return 128 + result.interrupted_by;
}

Json result_json(const ExperimentResult& result) {
  Json statements = Json::array();
  for (const TestedStatement& tested : result.statements) {
    statements.push_back(
        {{"statement", tested.text}, {"finding", to_string(tested.finding)}, {"evidence", tested.evidence}});
  }
  return {{"verdict", to_string(result.finding)},
          {"statements", statements},
          {"runs", result.num_runs},
          {"open_runs", result.num_open},
          {"report", (result.folder / "report.html").string()}};
}

void print_result(const Console& console, const ExperimentResult& result) {
  console.result(report_text(result.report));
  for (const std::string& note : result.notes) console.note(note);
  if (result.num_open > 0) {
    console.result(fmt::format("{} of {} runs are still to be done{}: repeat the command to continue",
                               result.num_open, result.num_runs,
                               result.budget_spent ? ", the budget is spent" : ""));
  }
  console.result(fmt::format("written: report.html, report.md, tables.tex, *.csv, figures/ in {}",
                             result.folder.string()));
  console.document(result_json(result));
}

}  // namespace

int run_reproduce(Arguments arguments) {
  ReproduceArguments reproduce_arguments;
  Options options(
      "reproduce",
      "Does an experiment: the runs that are missing, then tables, figures and a report with its verdict.");
  options.positional_for("config", "FILE.toml", "an experiment, such as experiments/methods.toml");
  add_reproduce_options(options, reproduce_arguments);
  add_comparison_options(options, reproduce_arguments.comparison);
  add_named_finetune_options(options, reproduce_arguments.comparison.finetune);
  hide_single_choices(options);
  if (!options.parse(arguments)) return 0;
  if (!options.given("config")) {
    fail(ErrorKind::usage,
         "FILE.toml is missing: expected an experiment, such as experiments/methods.toml ({})",
         options.see_help());
  }
  options.require("experiment");
  refuse_single_choices(options, reproduce_arguments.comparison);
  FinetuneArguments& finetune = reproduce_arguments.comparison.finetune;
  apply_common_options(finetune.common);
  ExperimentOptions experiment = resolve_experiment(reproduce_arguments, arguments);
  require_model(options, experiment.comparison.finetune.model_name_or_path);
  experiment.comparison.baselines = find_baselines(experiment.comparison.baselines, options.config());

  check_experiment(experiment);
  const Console console = finetune.common.console();
  if (reproduce_arguments.comparison.dry_run) return print_plan(console, experiment.comparison);
  const ExperimentResult result = reproduce(experiment, experiment.comparison.finetune.progress);
  if (result.interrupted_by != 0) return report_stop(result);
  print_result(console, result);
  return result.first_failure.value_or(0);
}

}  // namespace normtune
