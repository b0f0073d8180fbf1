#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/comparison_plan.h"
#include "experiments/score_table.h"
#include "experiments/statistics.h"

namespace normtune {

/// What each prediction of a run on dev is worth, in file order (MNLI: matched, then mismatched).
struct RunOutcomes {
  std::vector<bool> correct;           ///< of classes
  std::vector<double> squared_errors;  ///< of scores
};

/// Writes `outcomes.json` into the folder of every finished run that has predictions and lacks it, so that
/// later tables need no data. Does nothing for tasks whose rows are not there. Throws Error(data),
/// Error(write).
void keep_outcomes(std::span<const ComparedRun> runs);

/// Nothing if the run has no `outcomes.json`. Throws Error(data) for a malformed one.
std::optional<RunOutcomes> read_outcomes(const ComparedRun& run);

/// Two runs of equal task and seed, example by example.
struct OutcomeComparison {
  std::string a, b, task;
  uint64_t seed = 0;
  int64_t examples = 0;
  int64_t only_a = 0, only_b = 0;  ///< right in one alone; of scores: examples that one is nearer to
  double p = 1;            ///< McNemar's exact test; of scores: sign flips of the squared errors' difference
  double corrected_p = 1;  ///< over the tasks and seeds of the pair
};

/// All runs of two rows that have outcomes.
std::vector<OutcomeComparison> compare_outcomes(const std::string& a, const std::string& b,
                                                const ScoreTable& table, std::span<const ComparedRun> runs);

/// `a,b,task,seed,examples,only_a,only_b,p,corrected_p`
std::string outcome_comparisons_csv(const std::vector<OutcomeComparison>& comparisons);

}  // namespace normtune
