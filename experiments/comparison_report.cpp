#include "experiments/comparison_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "experiments/text_table.h"

namespace normtune {

namespace {

std::string score_text(const ScoreCell& cell) {
  if (!cell.summary.mean) return no_value;
  std::string text = fmt::format("{:.2f}", 100 * *cell.summary.mean);
  if (cell.summary.sd) text += fmt::format(" ± {:.2f}", 100 * *cell.summary.sd);
  return text;
}

/// 3, or 2-3 where some scores of a row are missing.
std::string count_range(const ScoreTable& table, const std::string& row) {
  int64_t least = table.num_seeds, most = 0;
  for (const ScoreCell& cell : table.cells) {
    if (cell.row != row || cell.task == "average") continue;
    least = std::min(least, cell.summary.n);
    most = std::max(most, cell.summary.n);
  }
  return least == most ? fmt::format("{}", least) : fmt::format("{}-{}", least, most);
}

/// The best mean of a column; ties are best together.
std::optional<double> best_mean(const ScoreTable& table, const std::string& task) {
  std::optional<double> best;
  for (const std::string& row : table.rows) {
    const std::optional<double> mean = table.cell(row, task).summary.mean;
    if (mean && (!best || *mean > *best)) best = mean;
  }
  return best;
}

/// The first cell of a row that knows the model's size.
const ScoreCell& sized_cell(const ScoreTable& table, const std::string& row) {
  for (const ScoreCell& cell : table.cells) {
    if (cell.row == row && cell.total_parameters > 0) return cell;
  }
  return table.cell(row, table.tasks.front());
}

std::vector<std::string> heading(const ScoreTable& table) {
  std::vector<std::string> cells = {"method"};
  cells.insert(cells.end(), table.tasks.begin(), table.tasks.end());
  for (const char* name : {"n", "failed", "trainable", "share %"}) cells.push_back(name);
  return cells;
}

std::vector<std::string> table_row(const ScoreTable& table, const std::string& row, bool mark_best) {
  std::vector<std::string> cells = {row};
  int64_t failed = 0;
  for (const std::string& task : table.tasks) {
    const ScoreCell& cell = table.cell(row, task);
    if (task != "average") failed += cell.failed;
    const std::string text = score_text(cell);
    const bool best =
        mark_best && cell.summary.mean && *cell.summary.mean >= *best_mean(table, task) - score_rounding;
    cells.push_back(best ? "**" + text + "**" : text);
  }
  cells.push_back(count_range(table, row));
  cells.push_back(fmt::format("{}", failed));
  const ScoreCell& sized = sized_cell(table, row);
  if (sized.total_parameters == 0) {
    cells.insert(cells.end(), {no_value, no_value});
    return cells;
  }
  const double share =
      static_cast<double>(sized.trainable_parameters) / static_cast<double>(sized.total_parameters);
  cells.push_back(with_thousands(sized.trainable_parameters));
  cells.push_back(fmt::format("{:.4g}", 100 * share));
  return cells;
}

// ---- Baselines

std::vector<std::string> baseline_names(std::span<const Baseline> baselines) {
  std::vector<std::string> names;
  for (const Baseline& baseline : baselines) {
    if (std::find(names.begin(), names.end(), baseline.method) == names.end())
      names.push_back(baseline.method);
  }
  return names;
}

/// A baseline's score on a task; on `average` its own, or else the mean over the tasks if it has all of them.
std::optional<double> baseline_score(std::span<const Baseline> baselines, const std::string& name,
                                     const std::string& task, const ScoreTable& table) {
  for (const Baseline& baseline : baselines) {
    if (baseline.method == name && baseline.task == task) return baseline.score;
  }
  if (task != "average") return std::nullopt;
  double sum = 0;
  for (size_t i = 0; i + 1 < table.tasks.size(); ++i) {
    const std::optional<double> score = baseline_score(baselines, name, table.tasks[i], table);
    if (!score) return std::nullopt;
    sum += *score;
  }
  return sum / static_cast<double>(table.tasks.size() - 1);
}

/// How far full fine-tuning is from the best baseline of each task; empty if nothing can be compared.
std::string baseline_sentence(const ScoreTable& table, std::span<const Baseline> baselines) {
  if (std::find(table.rows.begin(), table.rows.end(), "full") == table.rows.end()) return "";
  std::vector<std::string> distances;
  for (const std::string& task : table.tasks) {
    std::optional<double> best;
    for (const std::string& name : baseline_names(baselines)) {
      const std::optional<double> score = baseline_score(baselines, name, task, table);
      if (task != "average" && score && (!best || *score > *best)) best = score;
    }
    const std::optional<double> mean = table.cell("full", task).summary.mean;
    if (best && mean) distances.push_back(fmt::format("{:+.2f} on {}", 100 * (*mean - *best), task));
  }
  if (distances.empty()) return "";
  return fmt::format("full against the best score that was not run here, in points: {}.",
                     fmt::join(distances, ", "));
}

// ---- Notes

std::string metrics_note(const ScoreTable& table) {
  std::vector<std::string> metrics;
  for (const std::string& task : table.tasks) {
    if (task != "average") {
      metrics.push_back(fmt::format("{} {}", task, table.cell(table.rows.front(), task).metric));
    }
  }
  return fmt::format(
      "Scores in per cent on {}: {}. Mean ± sample standard deviation over {} seed{}; n: scores that exist.",
      table.split, fmt::join(metrics, ", "), table.num_seeds, table.num_seeds == 1 ? "" : "s");
}

std::string average_note(const ScoreTable& table) {
  if (table.tasks.back() != "average") return "";
  return "The average is taken over the tasks seed by seed; its deviation is that of the seeds' averages.";
}

/// Where runs of a kind are: `head on cola: 1 of 3, ...`.
std::string places_of(const ScoreTable& table, int64_t ScoreCell::*count) {
  std::vector<std::string> places;
  for (const ScoreCell& cell : table.cells) {
    if (cell.*count == 0 || cell.task == "average") continue;
    places.push_back(fmt::format("{} on {}: {} of {}", cell.row, cell.task, cell.*count, table.num_seeds));
  }
  return fmt::format("{}", fmt::join(places, ", "));
}

std::string degenerate_note(const ScoreTable& table) {
  const std::string places = places_of(table, &ScoreCell::degenerate);
  if (places.empty()) return "";
  return fmt::format(
      "Degenerate runs (one answer for every row of dev, or the score of its most frequent class): {}.",
      places);
}

std::string undefined_note(const ScoreTable& table) {
  const std::string places = places_of(table, &ScoreCell::undefined);
  if (places.empty()) return "";
  return fmt::format("Undefined scores (constant answers have no correlation) are left out of the means: {}.",
                     places);
}

/// The rates of a row: one, or those of its tasks.
std::vector<std::string> chosen_rates(const ScoreTable& table, const std::string& row) {
  std::vector<std::string> rates;
  for (const std::string& task : table.tasks) {
    const ScoreCell& cell = table.cell(row, task);
    if (cell.learning_rate) rates.push_back(fmt::format("{}", *cell.learning_rate));
  }
  const bool equal = std::set<std::string>(rates.begin(), rates.end()).size() == 1;
  return equal ? std::vector<std::string>{rates.front()} : rates;
}

std::string rates_note(const ScoreTable& table) {
  std::vector<std::string> rows;
  bool differ = false;
  for (const std::string& row : table.rows) {
    const std::vector<std::string> rates = chosen_rates(table, row);
    differ = differ || rates.size() > 1;
    rows.push_back(fmt::format("{} {}", row, fmt::join(rates, "/")));
  }
  std::string note = fmt::format("Learning rates{}: {}.", differ ? " (by task, in the table's order)" : "",
                                 fmt::join(rows, ", "));
  const bool is_grid = std::any_of(table.cells.begin(), table.cells.end(),
                                   [](const ScoreCell& cell) { return cell.grid_size > 1; });
  if (is_grid) note += fmt::format(" {}", grid_rule);
  if (is_grid && table.split == "dev")
    note += " The scores are of the same split, which flatters larger grids.";
  return note;
}

std::string mask_note(const ScoreTable& table) {
  const bool has_mask = std::any_of(table.rows.begin(), table.rows.end(), [](const std::string& row) {
    return method_of_row(row) == "random" || method_of_row(row) == "mask";
  });
  if (!has_mask) return "";
  return "An element mask (random, mask) costs what training its tensors whole costs; over the encoder, "
         "nearly as much as full.";
}

std::string size_note(const ScoreTable& table) {
  std::set<int64_t> totals;
  for (const ScoreCell& cell : table.cells) {
    if (cell.row == table.rows.front() && cell.total_parameters > 0) totals.insert(cell.total_parameters);
  }
  if (totals.size() < 2) return "";
  return fmt::format("Trainable parameters include the classifier, whose size is here that of {}.",
                     table.tasks.front());
}

std::string joined(const std::vector<std::string>& lines, std::string_view bullet) {
  std::string text;
  for (const std::string& line : lines) text += fmt::format("{}{}\n", bullet, line);
  return text;
}

std::string latex_comment(const std::vector<std::string>& lines) {
  return joined(lines, "% ");
}

}  // namespace

TableRows score_rows(const ScoreTable& table, bool mark_best) {
  TableRows rows = {heading(table)};
  for (const std::string& row : table.rows) rows.push_back(table_row(table, row, mark_best));
  return rows;
}

std::vector<std::string> score_notes(const ScoreTable& table) {
  std::vector<std::string> lines;
  for (const std::string& note :
       {metrics_note(table), average_note(table), degenerate_note(table), undefined_note(table),
        rates_note(table), size_note(table), mask_note(table)}) {
    if (!note.empty()) lines.push_back(note);
  }
  return lines;
}

TableRows baseline_rows(const ScoreTable& table, std::span<const Baseline> baselines) {
  TableRows rows = {{"not run here"}};
  rows[0].insert(rows[0].end(), table.tasks.begin(), table.tasks.end());
  for (const std::string& name : baseline_names(baselines)) {
    std::vector<std::string> cells = {name};
    for (const std::string& task : table.tasks) {
      const std::optional<double> score = baseline_score(baselines, name, task, table);
      cells.push_back(score ? fmt::format("{:.2f}", 100 * *score) : no_value);
    }
    rows.push_back(cells);
  }
  return rows;
}

std::vector<std::string> baseline_sources(std::span<const Baseline> baselines) {
  std::vector<std::string> lines;
  for (const std::string& name : baseline_names(baselines)) {
    std::vector<std::string> sources;
    for (const Baseline& baseline : baselines) {
      const bool known = std::find(sources.begin(), sources.end(), baseline.source) != sources.end();
      if (baseline.method == name && !known) sources.push_back(baseline.source);
    }
    lines.push_back(fmt::format("{}: {}", name, fmt::join(sources, "; ")));
  }
  return lines;
}

ComparisonReport make_comparison_report(const ScoreTable& table,
                                        const std::vector<MethodComparison>& comparisons,
                                        std::span<const Baseline> baselines) {
  const TableRows plain = score_rows(table, false), marked = score_rows(table, true);
  const std::vector<std::string> below = score_notes(table);
  std::vector<std::string> sentences = describe_comparisons(comparisons);
  if (const std::string sentence = baseline_sentence(table, baselines); !sentence.empty())
    sentences.push_back(sentence);
  ComparisonReport report{.text = format_table(plain) + "\n" + joined(below, ""),
                          .markdown = markdown_table(marked) + "\n" + joined(below, "- "),
                          .latex = latex_comment(below) + latex_table(marked)};
  if (!baselines.empty()) {
    const TableRows rows = baseline_rows(table, baselines);
    const std::vector<std::string> sources = baseline_sources(baselines);
    report.text += "\n" + format_table(rows) + joined(sources, "");
    report.markdown += "\n" + markdown_table(rows) + "\n" + joined(sources, "- ");
    report.latex += "\n" + latex_comment(sources) + latex_table(rows);
  }
  if (!sentences.empty()) {
    report.text += "\nWhat the table shows\n" + joined(sentences, "- ");
    report.markdown += "\n## What the table shows\n\n" + joined(sentences, "- ");
  }
  return report;
}

}  // namespace normtune
