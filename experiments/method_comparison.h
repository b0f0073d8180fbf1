#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/score_table.h"

namespace normtune {

enum class Verdict { above, below, within, unknown };
const char* to_string(Verdict verdict);

/// Two rows on one task (or on average): is the difference of the means more than two standard errors?
///   standard_error = sqrt(sd_a^2 / n_a + sd_b^2 / n_b)
struct MethodComparison {
  std::string a, b, task;
  std::optional<double> difference;      ///< mean of a minus mean of b, a fraction
  std::optional<double> standard_error;  ///< none where a row has fewer than two scores
  Verdict verdict = Verdict::unknown;
};

/// The pairs that the table has rows for: full with full@untrained and head, layernorm with head and full,
/// random with layernorm.
std::vector<MethodComparison> compare_methods(const ScoreTable& table);

/// `a,b,task,difference,standard_error,verdict`, verdict being above, below, within or unknown.
std::string method_comparisons_csv(const std::vector<MethodComparison>& comparisons);

/// One sentence for each pair.
std::vector<std::string> describe_comparisons(const std::vector<MethodComparison>& comparisons);

}  // namespace normtune
