#include "experiments/experiment.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <utility>

#include "experiments/figures.h"
#include "experiments/interrupt.h"
#include "experiments/mask_rows.h"
#include "experiments/run_lock.h"
#include "experiments/run_outcomes.h"
#include "nn/atomic_file.h"
#include "nn/mapped_file.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

struct FigureText {
  const char* stem;
  const char* title;
  const char* caption;
};
/// Every figure that tools/plot_experiment.py may draw, in the order of the report.
constexpr std::array<FigureText, 9> figure_texts = {{
    {"scores", "Score and number of trained parameters",
     "Mean over seeds, bars: sample standard deviation; hollow markers: from an untrained model."},
    {"differences", "Paired differences",
     "Mean difference over tasks and runs of equal seeds, with 95 % bootstrap interval; right of the line "
     "the first of "
     "the two scores higher."},
    {"drift_components", "How far each component moves",
     "D, the mean absolute change of its elements, after full fine-tuning; a point is a run, the bar the "
     "mean over tasks. "
     "Tensors that move by rounding alone are left out."},
    {"drift_layers", "How far each component moves, layer by layer", "The same, mean over tasks and seeds."},
    {"fisher_components", "Fisher information of each component",
     "Mean over a component's elements, after full fine-tuning; a point is a run, the bar the mean over "
     "tasks."},
    {"fisher_layers", "Fisher information of each component, layer by layer",
     "The same, mean over tasks and seeds."},
    {"subsets", "Score and share of output.LayerNorm that is trained",
     "Elements with the highest Fisher information on the task, the lowest, and random ones; bars: sample "
     "standard "
     "deviation over seeds."},
    {"cross_task", "Elements chosen on other tasks",
     "The same number of elements of output.LayerNorm, chosen on the other tasks, on the task itself, and at "
     "random."},
    {"untrained", "The same methods from an untrained model",
     "Filled: from the pre-trained model; hollow: all weights drawn; lines join the same method."},
}};

std::vector<ReportFigure> figures_in(const fs::path& folder) {
  std::vector<ReportFigure> figures;
  for (const FigureText& text : figure_texts) {
    const fs::path svg = folder / (std::string(text.stem) + ".svg");
    if (fs::exists(svg)) figures.push_back({.title = text.title, .caption = text.caption, .svg = svg});
  }
  return figures;
}

/// The masks that rows need, as far as runs are still to be done. False if a signal stopped it.
bool prepare_masks(ComparisonOptions& options, const ProgressOutput& progress) {
  const bool any = std::any_of(options.rows.begin(), options.rows.end(), has_own_masks);
  if (!any) return true;
  const ComparisonInputs inputs = read_comparison_inputs(options);
  MaskRows masks(options, inputs, progress);
  masks.fill(options);
  const bool all_done = masks.are_known() && [&] {
    const std::vector<ComparedRun> runs = plan_runs(options, inputs);
    return std::all_of(runs.begin(), runs.end(),
                       [](const ComparedRun& run) { return RunFolder(run).state() == RunState::finished; });
  }();
  if (all_done) return true;
  if (inputs.recorded) {
    fail(ErrorKind::model,
         "the model or a task's data are not there (--model_name_or_path {}, --glue_dir {}), but runs with "
         "masks are "
         "still to be done",
         options.finetune.model_name_or_path.string(), options.finetune.task.glue_dir.string());
  }
  return masks.prepare(options, true);
}

/// Every pair once: what statements compare, then each row against full and layernorm.
std::vector<PairedTest> paired_tests(const std::vector<TestedStatement>& statements,
                                     const ScoreTable& table) {
  std::vector<std::pair<std::string, std::string>> pairs;
  const auto add = [&](const std::string& a, const std::string& b) {
    const bool known = std::any_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
      return pair == std::pair(a, b) || pair == std::pair(b, a);
    });
    if (a != b && !known) pairs.emplace_back(a, b);
  };
  for (const TestedStatement& tested : statements) {
    const bool about_scores = tested.statement.kind == Statement::Kind::higher ||
                              tested.statement.kind == Statement::Kind::not_lower;
    if (about_scores) add(tested.statement.a, tested.statement.b);
  }
  for (const char* reference : {"full", "layernorm"}) {
    if (!table.has_row(reference)) continue;
    for (const std::string& row : table.rows) add(row, reference);
  }
  std::vector<PairedTest> tests;
  for (const auto& [a, b] : pairs) {
    if (std::optional<PairedTest> test = compare_rows(table, a, b)) tests.push_back(std::move(*test));
  }
  correct_for_number(tests);
  return tests;
}

std::vector<ComponentMeasurements> collect_all_measurements(const ComparisonOptions& options,
                                                            const ScoreTable& table,
                                                            const PlannedComparison& plan) {
  std::vector<ComponentMeasurements> measurements;
  const auto collect = [&](const char* quantity, const std::vector<std::string>& rows) {
    for (const std::string& row : rows) {
      if (!table.has_row(row)) continue;
      ComponentMeasurements collected = collect_measurements(quantity, row, table, plan.runs);
      if (collected.num_runs > 0) measurements.push_back(std::move(collected));
    }
  };
  collect("drift", options.keep.drift_rows);
  collect("fisher", options.keep.fisher_rows);
  return measurements;
}

int64_t count_failed(const std::vector<ComparedRun>& runs) {
  return std::count_if(runs.begin(), runs.end(),
                       [](const ComparedRun& run) { return RunFolder(run).state() == RunState::failed; });
}

ExperimentEvidence gather_evidence(const ExperimentOptions& options, PlannedComparison plan) {
  ExperimentEvidence evidence{.plan = std::move(plan)};
  const ComparisonOptions& comparison = options.comparison;
  evidence.num_open = evidence.plan.num_open();
  evidence.num_failed = count_failed(evidence.plan.runs);
  evidence.table = make_score_table(comparison, evidence.plan.runs);
  if (!comparison.baselines.empty()) evidence.baselines = read_baselines(comparison.baselines);
  evidence.measurements = collect_all_measurements(comparison, evidence.table, evidence.plan);
  evidence.statements = test_statements(options.statements, evidence.table, evidence.measurements);
  evidence.tests = paired_tests(evidence.statements, evidence.table);
  return evidence;
}

/// The bytes of the tables, to see whether figures of an earlier call still show them.
std::string table_bytes(const fs::path& folder) {
  std::string bytes;
  for (const char* name : {"table.csv", "tests.csv", "drift.csv", "fisher.csv"}) {
    if (fs::exists(folder / name)) bytes += read_file(folder / name, ErrorKind::data);
  }
  return bytes;
}

/// Draws them from the tables. Where that is not possible, those of an earlier call serve if the tables are
/// the same.
std::vector<ReportFigure> make_figures(const fs::path& folder, bool tables_changed,
                                       std::vector<std::string>& notes) {
  const DrawnFigures drawn = draw_figures("plot_experiment.py", {folder.string()});
  if (!drawn.note.empty()) notes.push_back(drawn.note);
  if (!drawn.note.empty() && tables_changed) return {};
  return figures_in(folder / "figures");
}

void write_report(const ExperimentOptions& options, const ExperimentEvidence& evidence,
                  ExperimentResult& result) {
  const std::unique_ptr<RunLock> lock = RunLock::wait_for(result.folder);
  const std::string before = table_bytes(result.folder);
  write_experiment_tables(options, evidence);
  const std::vector<ReportFigure> figures =
      make_figures(result.folder, table_bytes(result.folder) != before, result.notes);
  result.report = make_experiment_report(options, evidence, figures);
  write_file_atomically(result.folder / "report.md", report_markdown(result.report));
  write_file_atomically(result.folder / "tables.tex", report_latex(result.report));
  write_file_atomically(result.folder / "report.html", report_html(result.report));
}

/// What the output folder holds beside the reports, of this program's commands.
constexpr std::array<std::string_view, 10> taken_names = {
    "runs",      "masks",    "fisher",    "costs",           "inputs.json",
    "table.csv", "table.md", "table.tex", "comparisons.csv", "costs.csv"};

/// The report's folder lies in the output folder, and is none of the others there.
void check_name(const ExperimentOptions& options) {
  const std::string& name = options.name;
  const bool plain = !name.empty() && std::isalnum(static_cast<unsigned char>(name[0])) != 0 &&
                     std::all_of(name.begin(), name.end(), [](unsigned char c) {
                       return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
                     });
  if (!plain) {
    fail(ErrorKind::usage,
         "--experiment: expected a plain name (letters, digits, -, _ and ., a letter or digit first), found "
         "{}; it becomes a folder in --output_dir",
         printable(name));
  }
  if (std::find(taken_names.begin(), taken_names.end(), name) == taken_names.end()) return;
  fail(ErrorKind::usage, "--experiment: {} in --output_dir is where {} are kept; expected another name", name,
       name.find('.') == std::string::npos ? "what experiments share" : "comparisons' tables");
}

}  // namespace

void check_experiment(ExperimentOptions& options) {
  check_name(options);
  check_comparison_options(options.comparison);
  check_mask_rows(options.comparison);
  for (const std::string& statement : options.statements) check_statement(statement, options.comparison);
  if (!options.comparison.baselines.empty()) read_baselines(options.comparison.baselines);
}

ExperimentResult reproduce(ExperimentOptions options, const ProgressOutput& progress) {
  check_experiment(options);
  ExperimentResult result{.folder = options.comparison.output_dir / options.name};
  if (!prepare_masks(options.comparison, progress)) {
    result.interrupted_by = InterruptGuard::signal();
    return result;
  }
  PlannedComparison plan = plan_comparison(options.comparison);
  const RunPool::Outcome outcome = do_runs(options.comparison, plan, progress);
  result.interrupted_by = outcome.interrupted_by;
  result.budget_spent = outcome.budget_spent;
  result.first_failure = outcome.first_failure;
  result.num_runs = static_cast<int64_t>(plan.runs.size());
  result.num_open = plan.num_open();
  if (result.interrupted_by != 0) return result;

  if (!plan.inputs.recorded) keep_outcomes(plan.runs);
  ExperimentEvidence evidence = gather_evidence(options, std::move(plan));
  if (options.comparison.costs && evidence.num_open == 0) {
    evidence.costs = measure_costs(options.comparison, evidence.plan.inputs, progress);
    result.interrupted_by = InterruptGuard::signal();
    if (result.interrupted_by != 0) return result;
  }
  result.statements = evidence.statements;
  result.finding = evidence.num_open > 0 ? Finding::undecided : overall_finding(evidence.statements);
  write_report(options, evidence, result);
  return result;
}

}  // namespace normtune
