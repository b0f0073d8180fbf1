#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "experiments/comparison_report.h"
#include "experiments/experiment.h"
#include "experiments/finetune_options.h"
#include "experiments/mask_rows.h"
#include "experiments/method.h"
#include "experiments/progress.h"
#include "experiments/run_outcomes.h"
#include "nn/atomic_file.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::string points(double fraction) {
  return fmt::format("{:+.2f}", 100 * fraction);
}

bool has_mask_rows(const ComparisonOptions& options) {
  return std::any_of(options.rows.begin(), options.rows.end(), has_own_masks);
}

// ---- The question and its answer

std::string verdict_reason(const ExperimentEvidence& evidence) {
  if (evidence.num_open > 0) {
    return fmt::format("Preliminary: {} of {} runs are still to be done. What follows is about the others.",
                       evidence.num_open, evidence.plan.runs.size());
  }
  std::string reason;
  for (const TestedStatement& tested : evidence.statements) {
    const std::string finding =
        evidence.statements.size() == 1 ? "" : fmt::format("{}, ", to_string(tested.finding));
    reason += fmt::format("{}\"{}\": {}{}.", reason.empty() ? "" : " ", describe(tested.statement), finding,
                          tested.evidence);
  }
  return reason;
}

ReportSection statements_section(const ExperimentEvidence& evidence) {
  ReportTable table{.title = "The statements and what the runs say of them",
                    .rows = {{"statement", "finding", "evidence"}}};
  std::vector<std::string> rules;
  for (const TestedStatement& tested : evidence.statements) {
    table.rows.push_back({describe(tested.statement), to_string(tested.finding), tested.evidence});
    const std::string rule = (tested.statement.kind == Statement::Kind::higher      ? "Higher scores: "
                              : tested.statement.kind == Statement::Kind::not_lower ? "At most so far below: "
                                                                                    : "Components: ") +
                             decision_rule(tested.statement) + ".";
    if (std::find(rules.begin(), rules.end(), rule) == rules.end()) rules.push_back(rule);
  }
  ReportSection section{.heading = "How the verdict comes about", .tables = {table}, .on_files = true};
  section.paragraphs = {
      "The claim counts as supported if all statements are, as not supported if one of them is not, else as "
      "undecided."};
  section.tables.front().notes = rules;
  return section;
}

// ---- What was done

std::string seeds_text(const std::vector<uint64_t>& seeds) {
  return fmt::format("{}", fmt::join(seeds, ", "));
}

std::string model_name(const ComparisonOptions& options) {
  const fs::path& path = options.finetune.model_name_or_path;
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

/// Options that differ from their defaults, without those that vary between runs or name places.
std::string settings_text(const ComparisonOptions& options) {
  static const std::set<std::string> elsewhere = {"task_name", "method",     "learning_rate", "seed",
                                                  "data_seed", "init_seed",  "mask_seed",     "dropout_seed",
                                                  "mask",      "random_init"};
  const auto all = options_json(options.finetune), defaults = options_json(FinetuneOptions{});
  std::vector<std::string> settings;
  for (const auto& [name, value] : all.items()) {
    if (elsewhere.contains(name) || !changes_numbers(name) || value == defaults.at(name)) continue;
    settings.push_back(
        fmt::format("{} = {}", name, value.is_string() ? value.get<std::string>() : value.dump()));
  }
  return settings.empty() ? "defaults" : fmt::format("{}", fmt::join(settings, ", "));
}

std::vector<std::string> row_texts(const ComparisonOptions& options) {
  std::vector<std::string> items;
  for (const std::string& row : options.rows) {
    const std::string method = method_of_row(row);
    if (has_own_masks(row)) continue;
    for (const MethodDescription& description : method_descriptions()) {
      if (description.name != method) continue;
      items.push_back(fmt::format("{}: {}{}", row, description.trains,
                                  is_untrained(row) ? "; all weights drawn at random, no pre-training" : ""));
    }
  }
  if (has_mask_rows(options)) {
    items.push_back(
        fmt::format("mask:KIND-PERCENT: elements of the post-FFN output.LayerNorm of all layers. fisher, "
                    "bottom: those with the "
                    "highest, lowest Fisher information on the task (of the start model with a new "
                    "classifier, first {} training "
                    "rows); random: drawn anew for each seed; others: the union of what the other tasks "
                    "choose; own-as-others, "
                    "random-as-others: as many elements, chosen by the task itself or at random",
                    options.keep.fisher_samples));
  }
  return items;
}

ReportSection setup_section(const ExperimentOptions& options, const ExperimentEvidence& evidence) {
  const ComparisonOptions& comparison = options.comparison;
  ReportSection section{.heading = "What was done", .on_files = true};
  if (!options.measures.empty()) section.paragraphs.push_back(options.measures);
  section.paragraphs.push_back(fmt::format(
      "Model {}; tasks {}; seeds {}; {} runs, of which {} failed and {} are open.", model_name(comparison),
      fmt::join(task_names(comparison), ", "), seeds_text(comparison.seeds), evidence.plan.runs.size(),
      evidence.num_failed, evidence.num_open));
  section.paragraphs.push_back("Settings of all runs: " + settings_text(comparison) + ".");
  section.items = row_texts(comparison);
  section.items.push_back("Every method also trains the classifier.");
  return section;
}

// ---- Scores

std::string percent(const std::optional<double>& score) {
  return score ? fmt::format("{:.2f}", 100 * *score) : no_value;
}

/// Every cell with all that describes a few numbers.
ReportTable distribution_table(const ExperimentEvidence& evidence) {
  ReportTable table{.title = "Each method on each task: distribution over seeds",
                    .rows = {{"method", "task", "learning rate", "n", "mean", "sd", "median", "min", "max",
                              "failed", "degenerate"}},
                    .notes = {"Degenerate: finished runs with one answer for every row of dev, or with no "
                              "more than the score of "
                              "its most frequent class."},
                    .folded = true};
  for (const ScoreCell& cell : evidence.table.cells) {
    if (cell.task == "average") continue;
    std::vector<double> scores;
    for (const std::optional<double>& score : cell.scores) {
      if (score) scores.push_back(*score);
    }
    std::optional<double> middle, least, most;
    if (!scores.empty()) {
      middle = median(scores);
      least = *std::min_element(scores.begin(), scores.end());
      most = *std::max_element(scores.begin(), scores.end());
    }
    table.rows.push_back({cell.row, cell.task,
                          cell.learning_rate ? fmt::format("{}", *cell.learning_rate) : no_value,
                          fmt::format("{}", cell.summary.n), percent(cell.summary.mean),
                          percent(cell.summary.sd), percent(middle), percent(least), percent(most),
                          fmt::format("{}", cell.failed), fmt::format("{}", cell.degenerate)});
  }
  return table;
}

ReportTable score_table(const ExperimentEvidence& evidence) {
  ReportTable table{.title = "Mean and deviation over seeds",
                    .rows = score_rows(evidence.table, true),
                    .notes = score_notes(evidence.table)};
  if (evidence.num_open > 0) table.notes.push_back(fmt::format("{} runs are still open.", evidence.num_open));
  return table;
}

ReportTable tests_table(const ExperimentEvidence& evidence) {
  ReportTable table{
      .title = "Paired differences in points",
      .rows = {{"first", "second", "difference", "95 % interval", "p", "corrected p", "pairs"}}};
  bool all_exact = true;
  for (const PairedTest& test : evidence.tests) {
    all_exact = all_exact && test.test.exact;
    table.rows.push_back({test.a, test.b, points(test.difference),
                          fmt::format("{} to {}", points(test.interval.low), points(test.interval.high)),
                          p_text(test.test.p), p_text(test.corrected_p),
                          fmt::format("{}", test.test.num_pairs)});
  }
  table.notes = {fmt::format(
      "Mean over tasks of the differences of runs with equal seeds. p: two-sided sign-flip permutation test "
      "over all task x seed pairs, {}; corrected by Holm over the {} rows of this table. Interval: "
      "percentile "
      "bootstrap, pairs drawn within tasks (10,000 draws).",
      all_exact
          ? "all signs enumerated"
          : fmt::format("signs enumerated up to {} pairs, else 100,000 random draws", max_enumerated_pairs),
      evidence.tests.size())};
  return table;
}

/// Kruskal and Wallis over the methods, task by task.
ReportTable kruskal_table(const ExperimentEvidence& evidence) {
  ReportTable table{
      .title = "Do the methods differ at all? Kruskal-Wallis test over methods",
      .rows = {{"task", "H", "degrees of freedom", "p", "corrected p"}},
      .notes = {"A run is an observation, a method a group; chi-squared approximation, which is rough for "
                "groups of fewer than five runs; corrected by Holm over tasks."}};
  std::vector<double> p_values;
  for (const std::string& task : evidence.table.tasks) {
    if (task == "average") continue;
    std::vector<std::vector<double>> groups;
    for (const std::string& row : evidence.table.rows) {
      std::vector<double>& group = groups.emplace_back();
      for (const std::optional<double>& score : evidence.table.cell(row, task).scores) {
        if (score) group.push_back(*score);
      }
    }
    const std::optional<KruskalWallisTest> test = kruskal_wallis_test(groups);
    if (!test) continue;
    p_values.push_back(test->p);
    table.rows.push_back({task, fmt::format("{:.2f}", test->h), fmt::format("{}", test->degrees_of_freedom),
                          p_text(test->p), ""});
  }
  const std::vector<double> corrected = holm_correction(p_values);
  for (size_t i = 0; i < corrected.size(); ++i) table.rows[i + 1].back() = p_text(corrected[i]);
  return table;
}

std::vector<OutcomeComparison> all_outcome_comparisons(const ExperimentEvidence& evidence) {
  std::vector<OutcomeComparison> comparisons;
  for (const PairedTest& test : evidence.tests) {
    if (!evidence.table.has_row(test.a) || !evidence.table.has_row(test.b)) continue;
    const std::vector<OutcomeComparison> pair =
        compare_outcomes(test.a, test.b, evidence.table, evidence.plan.runs);
    comparisons.insert(comparisons.end(), pair.begin(), pair.end());
  }
  return comparisons;
}

/// One row for each pair and task: means over the seeds.
ReportTable outcomes_table(const std::vector<OutcomeComparison>& comparisons) {
  ReportTable table{.title = "The same predictions example by example",
                    .rows = {{"first", "second", "task", "examples", "only first right", "only second right",
                              "seeds with p <= 0.05"}},
                    .notes = {"Predictions on dev, mean over seeds. McNemar's exact test for classes; for "
                              "similarity scores, examples "
                              "that one is nearer to, and sign flips of the difference of squared errors "
                              "(10,000 draws). p corrected "
                              "by Holm over the tasks and seeds of a pair. This asks whether two trained "
                              "models differ on this sample "
                              "of examples, not whether two methods do."},
                    .folded = true};
  for (size_t begin = 0; begin < comparisons.size();) {
    size_t end = begin;
    double only_a = 0, only_b = 0;
    int64_t significant = 0;
    const OutcomeComparison& first = comparisons[begin];
    while (end < comparisons.size() && comparisons[end].a == first.a && comparisons[end].b == first.b &&
           comparisons[end].task == first.task) {
      only_a += static_cast<double>(comparisons[end].only_a);
      only_b += static_cast<double>(comparisons[end].only_b);
      significant += comparisons[end].corrected_p <= significance ? 1 : 0;
      ++end;
    }
    const auto seeds = static_cast<double>(end - begin);
    table.rows.push_back({first.a, first.b, first.task, fmt::format("{}", first.examples),
                          fmt::format("{:.1f}", only_a / seeds), fmt::format("{:.1f}", only_b / seeds),
                          fmt::format("{} of {}", significant, end - begin)});
    begin = end;
  }
  return table;
}

void take_figures(const std::vector<ReportFigure>& all, const std::set<std::string>& stems,
                  ReportSection& section) {
  for (const ReportFigure& figure : all) {
    if (stems.contains(figure.svg.stem().string())) section.figures.push_back(figure);
  }
}

ReportSection scores_section(const ExperimentEvidence& evidence, const std::vector<ReportFigure>& figures) {
  ReportSection section{.heading = "Scores"};
  take_figures(figures, {"scores", "subsets", "cross_task", "untrained"}, section);
  section.tables.push_back(score_table(evidence));
  if (!evidence.baselines.empty()) {
    section.tables.push_back({.title = "Published and other scores, not run here",
                              .rows = baseline_rows(evidence.table, evidence.baselines),
                              .notes = baseline_sources(evidence.baselines)});
  }
  section.tables.push_back(distribution_table(evidence));
  return section;
}

ReportSection differences_section(const ExperimentEvidence& evidence,
                                  const std::vector<ReportFigure>& figures) {
  ReportSection section{.heading = "Are the differences more than chance?"};
  take_figures(figures, {"differences"}, section);
  section.tables.push_back(tests_table(evidence));
  if (evidence.table.rows.size() > 1) {
    section.tables.push_back(kruskal_table(evidence));
    section.tables.back().on_files = true;
  }
  const std::vector<OutcomeComparison> comparisons = all_outcome_comparisons(evidence);
  if (!comparisons.empty()) section.tables.push_back(outcomes_table(comparisons));
  return section;
}

// ---- Components

std::string quantity_text(const ComponentMeasurements& measurements) {
  if (measurements.quantity == "drift") {
    return fmt::format(
        "Change of each component by {}: D, the mean absolute change of its elements (the ranking), and the "
        "relative L2 change beside it, which asks how much that is for a component of its size. Of a sign "
        "walk: "
        "D as a share of what an element moves if every step pushes it by the whole learning rate in the "
        "same "
        "direction, as Adam's steps can.",
        measurements.row);
  }
  return fmt::format(
      "Diagonal empirical Fisher information with observed labels after {}: mean over a component's "
      "elements (the ranking), and the sum over them.",
      measurements.row);
}

const char* value_text(const std::string& name) {
  if (name == "rel_l2") return "relative L2";
  return name == "of_sign_walk" ? "of a sign walk" : name.c_str();
}

ReportTable rank_table(const ComponentMeasurements& measurements, const std::vector<ComponentValue>& list,
                       const std::string& title) {
  const std::vector<ComponentRank> ranks = rank_components(measurements, list);
  ReportTable table{.title = title, .rows = {{"component", "elements", "mean"}}};
  std::vector<std::string> tasks, others;
  for (const auto& [task, mean] : ranks.front().mean_by_task) tasks.push_back(task);
  for (const auto& [name, mean] : ranks.front().other_means) others.push_back(name);
  for (const std::string& task : tasks) table.rows[0].push_back(task);
  for (const std::string& name : others) table.rows[0].push_back(value_text(name));
  table.rows[0].push_back("first in runs");
  for (const ComponentRank& rank : ranks) {
    std::vector<std::string> cells = {rank.name + (rank.rounding_noise ? " (rounding noise)" : ""),
                                      with_thousands(rank.elements), fmt::format("{:.3e}", rank.mean)};
    for (const std::string& task : tasks) {
      const auto found = rank.mean_by_task.find(task);
      cells.push_back(found == rank.mean_by_task.end() ? no_value : fmt::format("{:.2e}", found->second));
    }
    for (const std::string& name : others) {
      const auto found = rank.other_means.find(name);
      cells.push_back(found == rank.other_means.end() ? no_value : fmt::format("{:.3g}", found->second));
    }
    cells.push_back(fmt::format("{} of {}", rank.first_in_runs, measurements.num_runs));
    table.rows.push_back(cells);
  }
  table.notes = {
      "Mean over tasks of the means over seeds. First in runs: the largest among the components of the "
      "encoder's layers."};
  if (std::any_of(ranks.begin(), ranks.end(),
                  [](const ComponentRank& rank) { return rank.rounding_noise; })) {
    table.notes.push_back(
        "Rounding noise: the gradient of attention.self.key.bias is zero in mathematics; Adam divides "
        "what rounding leaves of it by itself. It is left out of the ranking.");
  }
  return table;
}

/// Runs may keep more than this experiment asks about.
bool is_asked_about(const ComponentMeasurements& measurements, const ExperimentEvidence& evidence) {
  const Statement::Kind kind =
      measurements.quantity == "drift" ? Statement::Kind::drift : Statement::Kind::fisher;
  return std::any_of(evidence.statements.begin(), evidence.statements.end(),
                     [&](const TestedStatement& tested) { return tested.statement.kind == kind; });
}

ReportSection components_section(const ComponentMeasurements& measurements,
                                 const std::vector<ReportFigure>& figures) {
  const bool drift = measurements.quantity == "drift";
  ReportSection section{
      .heading = drift ? "Which component changes most" : "Which component has the most information",
      .paragraphs = {quantity_text(measurements)}};
  take_figures(figures, {measurements.quantity + "_components", measurements.quantity + "_layers"}, section);
  section.tables.push_back(
      rank_table(measurements, measurements.components, "Components, pooled over layers"));
  if (!measurements.parts.empty()) {
    section.tables.push_back(rank_table(measurements, measurements.parts, "Weights and biases apart"));
    section.tables.back().on_files = true;
  }
  return section;
}

// ---- Costs

std::string bytes_text(int64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024 * 1024));
}

/// Seconds that training takes, mean over the finished runs of a row.
std::string train_seconds(const ExperimentEvidence& evidence, const std::string& row) {
  double sum = 0;
  int64_t count = 0;
  for (const ComparedRun& run : evidence.plan.runs) {
    if (run.row != row) continue;
    if (const std::optional<RunResult> result = RunFolder(run).result()) {
      sum += result->train_seconds;
      ++count;
    }
  }
  return count == 0 ? no_value : fmt::format("{:.1f}", sum / static_cast<double>(count));
}

ReportSection costs_section(const ExperimentEvidence& evidence) {
  ReportTable table{.title = "Time and memory",
                    .rows = {{"method", "trainable", "ms per step", "peak memory", "training of a run (s)"}}};
  for (const std::string& row : evidence.table.rows) {
    const auto cost =
        std::find_if(evidence.costs.begin(), evidence.costs.end(),
                     [&](const MethodCost& candidate) { return candidate.method == method_of_row(row); });
    const bool known = cost != evidence.costs.end();
    const int64_t trainable = evidence.table.cell(row, evidence.table.tasks.front()).trainable_parameters;
    table.rows.push_back({row, trainable == 0 ? no_value : with_thousands(trainable),
                          known ? fmt::format("{:.1f}", cost->ms_per_step) : no_value,
                          known ? bytes_text(cost->peak_rss_bytes) : no_value, train_seconds(evidence, row)});
  }
  if (!evidence.costs.empty()) {
    const MethodCost& first = evidence.costs.front();
    table.notes.push_back(
        fmt::format("Step and memory: one measurement of 20 steps per method with {} threads of {} ({}), "
                    "nothing else running by "
                    "intention; training of a run: as it was done, several side by side.",
                    first.threads, first.cpu, first.date));
    const double load =
        std::max_element(evidence.costs.begin(), evidence.costs.end(), [](const auto& a, const auto& b) {
          return a.other_load < b.other_load;
        })->other_load;
    if (load > disturbing_load) {
      table.notes.push_back(
          fmt::format("Other processes kept up to {:.1f} cores busy: not to be relied on.", load));
    }
  }
  return {.heading = "What it costs", .tables = {table}, .on_files = true};
}

// ---- Limits, and how to repeat it

ReportSection limits_section(const ExperimentOptions& options, const ExperimentEvidence& evidence) {
  const ComparisonOptions& comparison = options.comparison;
  const auto tasks = static_cast<int64_t>(task_names(comparison).size()), seeds = evidence.table.num_seeds;
  ReportSection section{.heading = "What this sample can and cannot show", .on_files = true};
  section.items.push_back(fmt::format(
      "{} tasks and {} seeds give {} pairs of runs; the smallest p that the sign-flip test can reach is "
      "{}{}.",
      tasks, seeds, tasks * seeds, p_text(smallest_sign_flip_p(tasks * seeds)),
      smallest_sign_flip_p(tasks * seeds) > significance ? ", so that no difference can count" : ""));
  section.items.push_back(
      "The tests speak about other seeds on these tasks with this model, not about other tasks or models: "
      "tasks are few and "
      "not a random sample.");
  section.items.push_back(
      fmt::format("On a single task {} seeds reach no p below {}; differences per task are description.",
                  seeds, p_text(smallest_sign_flip_p(seeds))));
  if (evidence.table.split == "dev") {
    section.items.push_back(
        "Scores are of dev, on which learning rates were chosen by hand or by grid; this flatters all "
        "methods, the more often tried ones more.");
  }
  section.items.push_back(
      "A statement that is undecided may be true or false: the runs are too few or too scattered to say.");
  if (!options.caveats.empty()) section.items.push_back(options.caveats);
  return section;
}

TableRows hash_rows(const ComparisonInputs& inputs) {
  TableRows rows = {{"file", "SHA-256"}};
  for (const auto& [name, hash] : inputs.model.items()) {
    if (hash.is_string()) rows.push_back({"model: " + name, hash.get<std::string>()});
  }
  for (const auto& [task, task_inputs] : inputs.tasks) {
    for (const auto& [split, hashes] : task_inputs.hashes.items()) {
      std::string joined;
      for (const json& entry : hashes.flatten())
        joined += (joined.empty() ? "" : " ") + entry.get<std::string>();
      rows.push_back({task + ": " + split, joined});
    }
  }
  return rows;
}

TableRows run_rows(const ExperimentEvidence& evidence) {
  TableRows rows = {
      {"run", "task", "method", "seed", "learning_rate", "state", "dev", "report", "train_seconds"}};
  for (const ComparedRun& run : evidence.plan.runs) {
    const RunFolder folder(run);
    const std::optional<RunResult> result = folder.result();
    std::vector<std::string> cells = {run.id,
                                      run.task,
                                      run.row,
                                      fmt::format("{}", run.options.seed),
                                      fmt::format("{}", run.options.learning_rate),
                                      state_name(folder.state())};
    if (result) {
      const auto text = [](const std::optional<double>& score) {
        return score ? fmt::format("{:.6g}", *score) : "";
      };
      cells.push_back(text(result->score("dev", run.metric)));
      cells.push_back(text(result->score(evidence.table.split, run.metric)));
      cells.push_back(fmt::format("{:.2f}", result->train_seconds));
    } else {
      cells.insert(cells.end(), {"", "", ""});
    }
    rows.push_back(cells);
  }
  return rows;
}

ReportTable failures_table(const ExperimentEvidence& evidence) {
  ReportTable table{.title = "Runs that failed", .rows = {{"run", "task", "method", "seed", "error"}}};
  for (const ComparedRun& run : evidence.plan.runs) {
    const RunFolder folder(run);
    if (folder.state() != RunState::failed) continue;
    table.rows.push_back(
        {run.id, run.task, run.row, fmt::format("{}", run.options.seed), folder.failure().value().error});
  }
  return table;
}

/// As it was typed, but without the folders in front of absolute paths: those are of one machine.
std::string command_text(const std::vector<std::string>& words) {
  std::vector<std::string> shown;
  for (const std::string& word : words) {
    const fs::path path(word);
    const std::string name = (path.has_filename() ? path : path.parent_path()).filename().string();
    const std::string text = path.is_absolute() ? name : word;
    shown.push_back(text.find(' ') == std::string::npos ? text : "'" + text + "'");
  }
  return fmt::format("{}", fmt::join(shown, " "));
}

ReportSection repeat_section(const ExperimentOptions& options, const ExperimentEvidence& evidence) {
  ReportSection section{.heading = "How to repeat it", .on_files = true};
  section.paragraphs.push_back("$ normtune reproduce " + command_text(options.command));
  section.paragraphs.push_back(options.comparison.program_version +
                               ". Finished runs are recognised by their content and not repeated; the same "
                               "command with all of them finished makes "
                               "this report again from their result files.");
  if (evidence.num_failed > 0) section.tables.push_back(failures_table(evidence));
  section.tables.push_back({.title = "Input files", .rows = hash_rows(evidence.plan.inputs), .folded = true});
  if (has_mask_rows(options.comparison)) {
    const MaskRows masks(options.comparison, evidence.plan.inputs, {});
    ReportTable table{.title = "Masks", .rows = {{"mask", "elements", "of", "SHA-256"}}, .folded = true};
    for (const auto& [name, record] : masks.records()) {
      table.rows.push_back(
          {name, with_thousands(record.elements), with_thousands(record.candidates), record.sha256});
    }
    section.tables.push_back(table);
  }
  section.tables.push_back({.title = "All runs", .rows = run_rows(evidence), .folded = true});
  return section;
}

}  // namespace

void write_experiment_tables(const ExperimentOptions& options, const ExperimentEvidence& evidence) {
  const fs::path folder = options.comparison.output_dir / options.name;
  write_file_atomically(folder / "table.csv", score_table_csv(evidence.table));
  write_file_atomically(folder / "statements.csv", statements_csv(evidence.statements));
  write_file_atomically(folder / "tests.csv", paired_tests_csv(evidence.tests));
  write_file_atomically(folder / "outcomes.csv", outcome_comparisons_csv(all_outcome_comparisons(evidence)));
  write_file_atomically(folder / "runs.csv", csv_text(run_rows(evidence)));
  if (!evidence.costs.empty()) write_file_atomically(folder / "costs.csv", method_costs_csv(evidence.costs));
  for (const ComponentMeasurements& measurements : evidence.measurements) {
    write_file_atomically(folder / (measurements.quantity + ".csv"),
                          component_measurements_csv(measurements));
  }
}

ReportDocument make_experiment_report(const ExperimentOptions& options, const ExperimentEvidence& evidence,
                                      const std::vector<ReportFigure>& figures) {
  ReportDocument report{
      .title = fmt::format("{}: {}", options.name, model_name(options.comparison)),
      .claim = options.claim,
      .verdict = to_string(evidence.num_open > 0 ? Finding::undecided : overall_finding(evidence.statements)),
      .verdict_reason = verdict_reason(evidence)};
  report.sections.push_back(statements_section(evidence));
  report.sections.push_back(setup_section(options, evidence));
  for (const ComponentMeasurements& measurements : evidence.measurements) {
    if (is_asked_about(measurements, evidence)) {
      report.sections.push_back(components_section(measurements, figures));
    }
  }
  report.sections.push_back(scores_section(evidence, figures));
  if (!evidence.tests.empty()) report.sections.push_back(differences_section(evidence, figures));
  report.sections.push_back(costs_section(evidence));
  report.sections.push_back(limits_section(options, evidence));
  report.sections.push_back(repeat_section(options, evidence));
  return report;
}

}  // namespace normtune
