#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/component_measurements.h"
#include "experiments/score_table.h"
#include "experiments/statistics.h"

namespace normtune {

/// A sentence that an experiment tests. In its file:
///
///   layernorm > random          the scores of the first row are higher than those of the second
///   layernorm >= full - 2       they are at most 2 points (per cent) lower
///   mask:fisher-* > mask:random-*   of several rows: their mean, run by run
///   drift output.LayerNorm > layers          the component changes more than any other in the encoder's
///   layers drift output.LayerNorm.bias > output.LayerNorm.weight     one component, or part of it, more than
///   another fisher ...                  the same of the Fisher information
struct Statement {
  enum class Kind { higher, not_lower, drift, fisher };
  Kind kind = Kind::higher;
  std::string a, b;   ///< rows or globs of rows; components; b may be `layers`
  double margin = 0;  ///< of not_lower, as a fraction
};
/// Throws Error(usage) that shows the forms above.
Statement parse_statement(const std::string& text);

/// Throws Error(usage), naming the statement and what there is, if no run of the comparison could decide it:
/// for a row that it has not, a measurement that none of its rows keeps, a component that BERT has not.
void check_statement(const std::string& text, const ComparisonOptions& options);

/// The statement in words.
std::string describe(const Statement& statement);
/// How it is decided, in words.
std::string decision_rule(const Statement& statement);

enum class Finding { supported, not_supported, undecided };
const char* to_string(Finding finding);

/// Runs of two rows (or groups of rows) with equal tasks and seeds, compared.
struct PairedTest {
  std::string a, b;
  PairedDifferences differences;  ///< by task, of fractions; runs without both scores are left out
  double difference = 0;          ///< stratified_mean()
  Interval interval;              ///< bootstrap_interval()
  PermutationTest test;
  double corrected_p = 1;  ///< over all tests that were made with it
};
/// Nothing if no run has both scores. `corrected_p` is still p.
std::optional<PairedTest> compare_rows(const ScoreTable& table, const std::string& a, const std::string& b);
/// Corrects the p of all of them for their number.
void correct_for_number(std::vector<PairedTest>& tests);
/// `a,b,pairs,difference,low,high,p,corrected_p,exact`
std::string paired_tests_csv(const std::vector<PairedTest>& tests);

/// What the data say of a statement.
struct TestedStatement {
  std::string text;  ///< as in the file
  Statement statement;
  Finding finding = Finding::undecided;
  std::string evidence;
};

/// p up to which a difference counts.
inline constexpr double significance = 0.05;

/// Tests all statements. Of those about scores, p is corrected for their number; of one about a component,
/// for the number of components that it is compared with. `measurements` are those that exist.
std::vector<TestedStatement> test_statements(const std::vector<std::string>& texts, const ScoreTable& table,
                                             std::span<const ComponentMeasurements> measurements);

/// Supported if all are, not supported if one is not, else undecided. An empty list is undecided.
Finding overall_finding(const std::vector<TestedStatement>& statements);

/// `statement,finding,evidence`
std::string statements_csv(const std::vector<TestedStatement>& statements);

}  // namespace normtune
