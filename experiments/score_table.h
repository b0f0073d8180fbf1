#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/comparison_plan.h"

namespace normtune {

/// What became of one run of a row on a task.
struct SeedScore {
  bool failed = false;           ///< there is no result
  bool open = false;             ///< not yet
  bool degenerate = false;       ///< one answer for all of dev, or no better than its most frequent class
  std::optional<double> dev;     ///< none for a failed run and for an undefined score
  std::optional<double> report;  ///< on the report split
};

/// Means of the same scores may differ by so much, according to the order of their sum.
inline constexpr double score_rounding = 1e-12;

/// Mean and standard deviation of the scores that exist.
struct ScoreSummary {
  std::optional<double> mean;
  std::optional<double> sd;  ///< sample deviation (divided by n - 1); none for n < 2
  int64_t n = 0;
};
ScoreSummary summarize(std::span<const std::optional<double>> scores);

/// Runs of one row on one task at one learning rate, seed by seed.
struct GridPoint {
  double learning_rate = 0;
  std::vector<SeedScore> seeds;
};
/// The best learning rate on dev: the one with the fewest runs that failed or have no score (they count as
/// worst), among these the one of the highest mean, among these the smallest. Returns its place in `grid`.
size_t choose_grid_point(std::span<const GridPoint> grid);
/// The same rule in words, for people.
extern const char* const grid_rule;

/// A cell of the table: a row on a task, at the chosen learning rate. Of the task `average`: the mean over
/// the tasks, seed by seed, over the seeds that have a score on every task.
struct ScoreCell {
  std::string row, task, metric;
  std::optional<double> learning_rate;        ///< none for the average
  int64_t grid_size = 1;                      ///< rates that it was chosen from
  std::vector<std::optional<double>> scores;  ///< by seed, on the report split
  ScoreSummary summary;
  int64_t failed = 0;
  int64_t open = 0;        ///< runs that nobody has tried yet
  int64_t degenerate = 0;  ///< finished runs that have learned nothing
  int64_t undefined = 0;   ///< those of them whose score is not defined: constant answers
  int64_t trainable_parameters = 0, total_parameters = 0;  ///< 0 if no run has finished
};

struct ScoreTable {
  std::vector<std::string> rows, tasks;  ///< tasks with `average` at the end, if there are two or more
  std::string split;
  int64_t num_seeds = 0;
  std::vector<ScoreCell> cells;  ///< row by row, in it task by task

  /// Throws std::invalid_argument if there is no such cell.
  const ScoreCell& cell(const std::string& row, const std::string& task) const;
  bool has_row(const std::string& row) const;
};

/// Scores of all runs that are finished; the others have failed or are open.
ScoreTable make_score_table(const ComparisonOptions& options, std::span<const ComparedRun> runs);

/// One line per cell: `method,task,metric,split,learning_rate,mean,sd,n,failed,trainable_parameters,
/// total_parameters`. Scores are fractions, with digits enough to be read back exactly; what does not exist
/// is empty.
std::string score_table_csv(const ScoreTable& table);

}  // namespace normtune
