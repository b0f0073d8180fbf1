#pragma once

#include <span>
#include <string>

#include "experiments/baseline.h"
#include "experiments/method_comparison.h"
#include "experiments/score_table.h"

namespace normtune {

/// What a finished comparison says: the table with what must be known to read it, and what it shows. The same
/// runs give the same bytes.
struct ComparisonReport {
  std::string text;      ///< for the terminal
  std::string markdown;  ///< table.md
  std::string latex;     ///< table.tex
};

ComparisonReport make_comparison_report(const ScoreTable& table,
                                        const std::vector<MethodComparison>& comparisons,
                                        std::span<const Baseline> baselines);

}  // namespace normtune
