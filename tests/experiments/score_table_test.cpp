#include "experiments/score_table.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "experiments/run_store.h"
#include "tests/experiments/comparison_fixture.h"

namespace normtune {

using Scores = std::vector<std::optional<double>>;

namespace {

GridPoint point(double rate, const Scores& dev) {
  GridPoint point{.learning_rate = rate, .seeds = {}};
  for (const std::optional<double>& score : dev) {
    point.seeds.push_back({.failed = !score, .dev = score, .report = score});
  }
  return point;
}

double chosen(const std::vector<GridPoint>& grid) {
  return grid[choose_grid_point(grid)].learning_rate;
}

constexpr auto none = std::nullopt;

}  // namespace

BOOST_AUTO_TEST_SUITE(score_table)

BOOST_AUTO_TEST_CASE(mean_and_deviation_by_hand) {
  const ScoreSummary summary = summarize(Scores{.5, .7, .9});
  BOOST_CHECK_EQUAL(summary.n, 3);
  BOOST_CHECK(std::abs(*summary.mean - .7) <= 1e-15);
  BOOST_CHECK(std::abs(*summary.sd - .2) <= 1e-15);  // sqrt((.04 + 0 + .04) / 2)
  const ScoreSummary gap = summarize(Scores{none, .5, .9});
  BOOST_CHECK_EQUAL(gap.n, 2);
  BOOST_CHECK(std::abs(*gap.mean - .7) <= 1e-15);
  BOOST_CHECK(std::abs(*gap.sd - std::sqrt(.08)) <= 1e-15);
  const ScoreSummary one = summarize(Scores{.5, none});
  BOOST_CHECK(one.mean == .5 && !one.sd && one.n == 1);
  const ScoreSummary nothing = summarize(Scores{none});
  BOOST_CHECK(!nothing.mean && !nothing.sd && nothing.n == 0);
}

BOOST_AUTO_TEST_CASE(the_grid_takes_the_highest_mean_on_dev) {
  BOOST_CHECK_EQUAL(chosen({point(1, {.5, .6}), point(2, {.6, .7}), point(3, {.4, .9})}),
                    2);  // .65 twice: smaller
  BOOST_CHECK_EQUAL(chosen({point(1, {.5, .6}), point(2, {.6, .7}), point(3, {.5, .9})}), 3);
  BOOST_CHECK_EQUAL(chosen({point(2, {.5}), point(1, {.5})}), 1);
  BOOST_CHECK_EQUAL(chosen({point(1, {-.5}), point(2, {-.2})}), 2);
}

BOOST_AUTO_TEST_CASE(a_run_without_score_counts_as_worst) {
  BOOST_CHECK_EQUAL(chosen({point(1, {.9, none}), point(2, {-.9, -.9})}), 2);
  BOOST_CHECK_EQUAL(chosen({point(1, {.5, none}), point(2, {.6, none})}), 2);
  BOOST_CHECK_EQUAL(chosen({point(1, {.9, none, none}), point(2, {.1, .1, none})}), 2);
  BOOST_CHECK_EQUAL(chosen({point(1, {none, none}), point(2, {none, none})}), 1);
}

/// full on cola with a grid of two rates, everything else plain; one run failed, one score is undefined.
BOOST_AUTO_TEST_CASE(a_table_from_result_files) {
  const fixtures::TemporaryFolder folder;
  ComparisonOptions options = comparison::options(folder.path());
  options.learning_rates = {{"full", {1e-4, 1e-3}}};
  options.report_split = "test_labelled";
  const std::vector<ComparedRun> runs = plan_runs(options, comparison::inputs());
  for (const ComparedRun& run : runs) {
    const double seed = static_cast<double>(run.options.seed);
    const bool large = run.options.learning_rate == 1e-3;
    if (run.row == "full" && run.task == "cola") {
      comparison::write_result(run, large ? .5 : .25, large ? .25 * seed : .9);
    } else if (run.row == "full") {
      comparison::write_result(run, large ? .5 : .75, large ? .1 : .5 + .125 * seed);
    } else if (run.task == "cola") {
      comparison::write_result(run, .1, seed == 1 ? std::optional<double>(.25) : none);
    } else if (seed == 1) {
      comparison::write_result(run, .5, .5);
    } else {
      std::filesystem::create_directories(run.options.output_dir);
      RunFolder(run).write_failure({.exit_code = 5, .error = "the loss is not finite"});
    }
  }
  const ScoreTable table = make_score_table(options, runs);
  BOOST_CHECK_EQUAL(
      score_table_csv(table),
      "method,task,metric,split,learning_rate,mean,sd,n,failed,trainable_parameters,total_parameters\n"
      "full,cola,matthews_correlation,test_labelled,0.001,0.375,0.1767766952966369,2,0,50,1000\n"
      "full,sst2,accuracy,test_labelled,0.0001,0.6875,0.08838834764831845,2,0,50,1000\n"
      "full,average,mean,test_labelled,,0.53125,0.13258252147247765,2,0,50,1000\n"
      "head,cola,matthews_correlation,test_labelled,5e-05,0.25,,1,0,50,1000\n"
      "head,sst2,accuracy,test_labelled,5e-05,0.5,,1,1,50,1000\n"
      "head,average,mean,test_labelled,,0.375,,1,1,50,1000\n");
  BOOST_CHECK_EQUAL(table.cell("head", "cola").undefined, 1);
  BOOST_CHECK_EQUAL(table.cell("head", "cola").degenerate, 1);
  BOOST_CHECK_EQUAL(table.cell("head", "sst2").degenerate, 0);
  BOOST_CHECK_EQUAL(table.cell("full", "cola").grid_size, 2);
}

BOOST_AUTO_TEST_CASE(rows_without_any_result_stay_empty) {
  const fixtures::TemporaryFolder folder;
  ComparisonOptions options = comparison::options(folder.path());
  options.tasks = {"cola"};
  options.rows = {"head"};
  const std::vector<ComparedRun> runs = plan_runs(options, comparison::inputs());
  for (const ComparedRun& run : runs) {
    std::filesystem::create_directories(run.options.output_dir);
    RunFolder(run).write_failure({.exit_code = 5, .error = "the loss is not finite"});
  }
  BOOST_CHECK_EQUAL(
      score_table_csv(make_score_table(options, runs)),
      "method,task,metric,split,learning_rate,mean,sd,n,failed,trainable_parameters,total_parameters\n"
      "head,cola,matthews_correlation,dev,5e-05,,,0,2,,\n");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
