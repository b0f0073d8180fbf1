#pragma once

#include <span>
#include <string>

#include "experiments/baseline.h"
#include "experiments/method_comparison.h"
#include "experiments/score_table.h"
#include "experiments/text_table.h"

namespace normtune {

/// What a finished comparison says: the table with what must be known to read it, and what it shows. The same
/// runs give the same bytes.
struct ComparisonReport {
  std::string text;      ///< for the terminal
  std::string markdown;  ///< table.md
  std::string latex;     ///< table.tex
};

/// The table for people: methods as rows, tasks as columns. `mark_best`: `**..**` around the best of a
/// column.
TableRows score_rows(const ScoreTable& table, bool mark_best);
/// What must be known to read it.
std::vector<std::string> score_notes(const ScoreTable& table);
/// Scores that were not made by runs in the same columns, and where they are from. A baseline's average is
/// its own (task `average`), or else the mean over the table's tasks if it has all of them.
TableRows baseline_rows(const ScoreTable& table, std::span<const Baseline> baselines);
std::vector<std::string> baseline_sources(std::span<const Baseline> baselines);

ComparisonReport make_comparison_report(const ScoreTable& table,
                                        const std::vector<MethodComparison>& comparisons,
                                        std::span<const Baseline> baselines);

}  // namespace normtune
