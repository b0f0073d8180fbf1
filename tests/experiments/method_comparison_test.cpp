#include "experiments/method_comparison.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

namespace normtune {

namespace {

ScoreCell cell(const std::string& row, const std::string& task, double mean, std::optional<double> sd,
               int64_t n) {
  ScoreCell cell{.row = row, .task = task};
  cell.summary = {.mean = mean, .sd = sd, .n = n};
  return cell;
}

/// full against head on three tasks and on average.
ScoreTable table_of_means() {
  ScoreTable table{.rows = {"full", "head"}, .tasks = {"cola", "sst2", "rte", "average"}, .split = "dev"};
  table.cells = {cell("full", "cola", .6, .03, 3), cell("full", "sst2", .9, .05, 4),
                 cell("full", "rte", .5, .01, 3),  cell("full", "average", .6667, .01, 3),
                 cell("head", "cola", .5, .04, 4), cell("head", "sst2", .85, .05, 4),
                 cell("head", "rte", .6, .01, 3),  cell("head", "average", .65, .02, 3)};
  return table;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(method_comparison)

BOOST_AUTO_TEST_CASE(standard_errors_by_hand) {
  const std::vector<MethodComparison> comparisons = compare_methods(table_of_means());
  BOOST_REQUIRE_EQUAL(comparisons.size(), 4u);
  const MethodComparison& cola = comparisons[0];
  BOOST_CHECK(std::abs(*cola.difference - .1) <= 1e-15);
  BOOST_CHECK(std::abs(*cola.standard_error - std::sqrt(.0009 / 3 + .0016 / 4)) <= 1e-15);
  BOOST_CHECK(cola.verdict == Verdict::above);             // .1 > 2 x .0265
  BOOST_CHECK(comparisons[1].verdict == Verdict::within);  // .05 < 2 x .0354
  BOOST_CHECK(comparisons[2].verdict == Verdict::below);
}

BOOST_AUTO_TEST_CASE(a_difference_of_two_errors_is_not_clear) {
  ScoreTable exact = table_of_means();
  exact.cells[0] = cell("full", "cola", .75, .25, 2);
  exact.cells[4] = cell("head", "cola", .25, .25, 2);  // the error is sqrt(.03125 + .03125) = .25
  BOOST_CHECK(compare_methods(exact)[0].verdict == Verdict::within);
  exact.cells[4] = cell("head", "cola", .2, .25, 2);
  BOOST_CHECK(compare_methods(exact)[0].verdict == Verdict::above);
}

BOOST_AUTO_TEST_CASE(sentences_and_csv) {
  const std::vector<MethodComparison> comparisons = compare_methods(table_of_means());
  const std::vector<std::string> sentences = describe_comparisons(comparisons);
  BOOST_REQUIRE_EQUAL(sentences.size(), 1u);
  BOOST_CHECK_EQUAL(sentences[0],
                    "full is above head by more than two standard errors on 1 of 3 tasks, below it on 1; its "
                    "average is 1.67 points higher (standard error 1.29).");
  ScoreTable simple{.rows = {"layernorm", "full"}, .tasks = {"rte"}, .split = "dev"};
  simple.cells = {cell("layernorm", "rte", .5, .25, 2), cell("full", "rte", .75, .25, 2)};
  BOOST_CHECK_EQUAL(method_comparisons_csv(compare_methods(simple)),
                    "a,b,task,difference,standard_error,verdict\nlayernorm,full,rte,-0.25,0.25,within\n");
  BOOST_CHECK_EQUAL(describe_comparisons(compare_methods(simple))[0],
                    "layernorm is above full by more than two standard errors on none of 1 task, below it on "
                    "none; its score is 25.00 points lower (standard error 25.00).");
}

BOOST_AUTO_TEST_CASE(one_score_allows_no_statement) {
  ScoreTable single{.rows = {"full", "full@untrained"}, .tasks = {"rte"}, .split = "dev"};
  single.cells = {cell("full", "rte", .75, std::nullopt, 1), cell("full@untrained", "rte", .5, .1, 3)};
  const std::vector<MethodComparison> comparisons = compare_methods(single);
  BOOST_CHECK(comparisons.at(0).verdict == Verdict::unknown);
  BOOST_CHECK_EQUAL(method_comparisons_csv(comparisons),
                    "a,b,task,difference,standard_error,verdict\nfull,full@untrained,rte,0.25,,unknown\n");
  BOOST_CHECK_EQUAL(
      describe_comparisons(comparisons)[0],
      "full and full@untrained: no statement is possible, it takes two scores of each; its score is "
      "25.00 points higher.");
}

BOOST_AUTO_TEST_CASE(only_pairs_that_are_there) {
  ScoreTable lora{.rows = {"lora", "bitfit"}, .tasks = {"rte"}, .split = "dev"};
  lora.cells = {cell("lora", "rte", .75, .1, 2), cell("bitfit", "rte", .5, .1, 3)};
  BOOST_CHECK(compare_methods(lora).empty());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
