#include "experiments/score_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/csv_file.h"
#include "experiments/run_store.h"
#include "tensor/error.h"

namespace normtune {

namespace {

SeedScore score_of(const ComparedRun& run, const std::string& report_split, ScoreCell& cell) {
  const RunFolder folder(run);
  const std::optional<RunResult> result = folder.result();
  if (!result)
    return {.failed = folder.state() == RunState::failed, .open = folder.state() != RunState::failed};
  cell.trainable_parameters = result->trainable_parameters;
  cell.total_parameters = result->total_parameters;
  return {.degenerate = result->degenerate,
          .dev = result->score("dev", run.metric),
          .report = result->score(report_split, run.metric)};
}

/// The runs of a row on a task, by learning rate, in the order of the plan.
std::vector<GridPoint> collect_grid(std::span<const ComparedRun> runs, const std::string& report_split,
                                    ScoreCell& cell) {
  std::vector<GridPoint> grid;
  for (const ComparedRun& run : runs) {
    if (run.row != cell.row || run.task != cell.task) continue;
    cell.metric = run.metric;
    auto point = std::find_if(grid.begin(), grid.end(), [&](const GridPoint& candidate) {
      return candidate.learning_rate == run.options.learning_rate;
    });
    if (point == grid.end())
      point = grid.insert(grid.end(), {.learning_rate = run.options.learning_rate, .seeds = {}});
    point->seeds.push_back(score_of(run, report_split, cell));
  }
  return grid;
}

ScoreCell make_cell(std::span<const ComparedRun> runs, const std::string& report_split,
                    const std::string& row, const std::string& task) {
  ScoreCell cell{.row = row, .task = task};
  const std::vector<GridPoint> grid = collect_grid(runs, report_split, cell);
  const GridPoint& chosen = grid[choose_grid_point(grid)];
  cell.learning_rate = chosen.learning_rate;
  cell.grid_size = static_cast<int64_t>(grid.size());
  for (const SeedScore& seed : chosen.seeds) {
    cell.scores.push_back(seed.report);
    cell.failed += seed.failed ? 1 : 0;
    cell.open += seed.open ? 1 : 0;
    cell.degenerate += seed.degenerate ? 1 : 0;
    cell.undefined += !seed.failed && !seed.open && !seed.report ? 1 : 0;
  }
  cell.summary = summarize(cell.scores);
  return cell;
}

/// Of one seed; none if a task has no score.
std::optional<double> mean_over_tasks(std::span<const ScoreCell> cells, size_t seed) {
  double sum = 0;
  for (const ScoreCell& cell : cells) {
    if (!cell.scores[seed]) return std::nullopt;
    sum += *cell.scores[seed];
  }
  return sum / static_cast<double>(cells.size());
}

ScoreCell average_cell(std::span<const ScoreCell> cells) {
  ScoreCell average{.row = cells.front().row, .task = "average", .metric = "mean"};
  for (size_t seed = 0; seed < cells.front().scores.size(); ++seed) {
    average.scores.push_back(mean_over_tasks(cells, seed));
  }
  for (const ScoreCell& cell : cells) {
    average.failed += cell.failed;
    average.open += cell.open;
    average.degenerate += cell.degenerate;
    average.undefined += cell.undefined;
  }
  average.trainable_parameters = cells.front().trainable_parameters;
  average.total_parameters = cells.front().total_parameters;
  average.summary = summarize(average.scores);
  return average;
}

std::string count_or_empty(int64_t count) {
  return count == 0 ? "" : fmt::format("{}", count);
}

}  // namespace

const char* const grid_rule =
    "Of several learning rates the table takes, for each method and task, the one with the highest mean on "
    "dev over "
    "the seeds; runs that failed or have no score count as worst, and of equals the smaller rate is taken.";

ScoreSummary summarize(std::span<const std::optional<double>> scores) {
  ScoreSummary summary;
  double sum = 0;
  for (const std::optional<double>& score : scores) {
    if (!score) continue;
    sum += *score;
    ++summary.n;
  }
  if (summary.n == 0) return summary;
  const double mean = sum / static_cast<double>(summary.n);
  summary.mean = mean;
  if (summary.n < 2) return summary;
  double squares = 0;
  for (const std::optional<double>& score : scores) {
    if (score) squares += (*score - mean) * (*score - mean);
  }
  summary.sd = std::sqrt(squares / static_cast<double>(summary.n - 1));
  return summary;
}

size_t choose_grid_point(std::span<const GridPoint> grid) {
  check(!grid.empty(), "choose_grid_point: expected at least one learning rate");
  const auto summary_of = [](const GridPoint& point) {
    std::vector<std::optional<double>> scores;
    for (const SeedScore& seed : point.seeds) scores.push_back(seed.dev);
    return summarize(scores);
  };
  const auto is_better = [&](const GridPoint& a, const GridPoint& b) {
    const ScoreSummary first = summary_of(a), second = summary_of(b);
    if (first.n != second.n) return first.n > second.n;
    const double gain = first.mean.value_or(0) - second.mean.value_or(0);
    if (std::abs(gain) > score_rounding) return gain > 0;
    return a.learning_rate < b.learning_rate;
  };
  size_t best = 0;
  for (size_t i = 1; i < grid.size(); ++i) {
    if (is_better(grid[i], grid[best])) best = i;
  }
  return best;
}

const ScoreCell& ScoreTable::cell(const std::string& row, const std::string& task) const {
  const auto found = std::find_if(cells.begin(), cells.end(), [&](const ScoreCell& cell) {
    return cell.row == row && cell.task == task;
  });
  check(found != cells.end(), "score table: there is no cell {} x {}", row, task);
  return *found;
}

bool ScoreTable::has_row(const std::string& row) const {
  return std::find(rows.begin(), rows.end(), row) != rows.end();
}

ScoreTable make_score_table(const ComparisonOptions& options, std::span<const ComparedRun> runs) {
  ScoreTable table{.rows = options.rows,
                   .tasks = {},
                   .split = options.report_split,
                   .num_seeds = static_cast<int64_t>(options.seeds.size()),
                   .cells = {}};
  for (const ComparedRun& run : runs) {
    if (std::find(table.tasks.begin(), table.tasks.end(), run.task) == table.tasks.end()) {
      table.tasks.push_back(run.task);
    }
  }
  for (const std::string& row : table.rows) {
    std::vector<ScoreCell> cells;
    for (const std::string& task : table.tasks) cells.push_back(make_cell(runs, table.split, row, task));
    if (cells.size() > 1) cells.push_back(average_cell(cells));
    table.cells.insert(table.cells.end(), cells.begin(), cells.end());
  }
  if (table.tasks.size() > 1) table.tasks.push_back("average");
  return table;
}

std::string score_table_csv(const ScoreTable& table) {
  std::string text =
      "method,task,metric,split,learning_rate,mean,sd,n,failed,trainable_parameters,total_parameters\n";
  for (const ScoreCell& cell : table.cells) {
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{}\n", cell.row, cell.task, cell.metric, table.split,
                        text_or_empty(cell.learning_rate), text_or_empty(cell.summary.mean),
                        text_or_empty(cell.summary.sd), cell.summary.n, cell.failed,
                        count_or_empty(cell.trainable_parameters), count_or_empty(cell.total_parameters));
  }
  return text;
}

}  // namespace normtune
