#include "experiments/claim.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;

namespace {

ScoreCell cell(const std::string& row, const std::string& task,
               const std::vector<std::optional<double>>& scores) {
  ScoreCell cell{.row = row, .task = task, .scores = scores};
  cell.summary = summarize(scores);
  return cell;
}

/// Four tasks and three seeds; `b` is `gap` below `a` in each run.
ScoreTable table_with_gap(double gap) {
  ScoreTable table{
      .rows = {"a", "b"}, .tasks = {"t1", "t2", "t3", "t4", "average"}, .split = "dev", .num_seeds = 3};
  for (const char* row : {"a", "b"}) {
    for (const std::string& task : table.tasks) {
      std::vector<std::optional<double>> scores;
      for (int seed = 0; seed < 3; ++seed)
        scores.push_back(.7 + .01 * seed - (row[0] == 'b' ? gap + .001 * seed : 0));
      table.cells.push_back(cell(row, task, scores));
    }
  }
  return table;
}

Finding finding(const std::string& statement, const ScoreTable& table,
                std::span<const ComponentMeasurements> measurements = {}) {
  return test_statements({statement}, table, measurements).front().finding;
}

ComponentValue value(const std::string& component, const std::string& task, uint64_t seed, double number) {
  return {.task = task,
          .seed = seed,
          .component = component,
          .layer = std::nullopt,
          .part = "all",
          .values = {{"mean_abs", number}}};
}

/// `big` is twice `small` in each of twelve runs; noise is larger than both.
ComponentMeasurements measurements(double factor) {
  ComponentMeasurements result{.quantity = "drift", .main_value = "mean_abs", .row = "full", .num_runs = 12};
  for (const char* task : {"t1", "t2", "t3", "t4"}) {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      const double size = .01 * static_cast<double>(seed);
      result.components.push_back(value("big", task, seed, factor * size));
      result.components.push_back(value("small", task, seed, size));
      result.components.push_back(value("noise", task, seed, 9));
      result.components.back().rounding_noise = true;
    }
  }
  result.layers = result.components;
  for (ComponentValue& layer : result.layers) layer.layer = 0;
  return result;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(claim)

BOOST_AUTO_TEST_CASE(statements_are_read) {
  const Statement higher = parse_statement("layernorm > random");
  BOOST_CHECK(higher.kind == Statement::Kind::higher && higher.a == "layernorm" && higher.b == "random");
  const Statement margin = parse_statement("layernorm >= full - 2.5");
  BOOST_CHECK(margin.kind == Statement::Kind::not_lower && margin.margin == .025);
  BOOST_TEST(describe(margin) == "layernorm is at most 2.5 points below full");
  BOOST_CHECK(parse_statement("drift output.LayerNorm > layers").kind == Statement::Kind::drift);
  BOOST_CHECK(parse_statement("fisher a > b").kind == Statement::Kind::fisher);
  for (const char* text :
       {"", "a", "a > ", "a < b", "a >= b", "a >= b - x", "a >= b - -1", "drift a >= b - 2", "a > b c"}) {
    check_error_parts(ErrorKind::usage, {"expected ROW > ROW"}, [&] { parse_statement(text); });
  }
}

BOOST_AUTO_TEST_CASE(higher_scores) {
  BOOST_CHECK(finding("a > b", table_with_gap(.05)) == Finding::supported);
  BOOST_CHECK(finding("b > a", table_with_gap(.05)) == Finding::not_supported);
  BOOST_CHECK(finding("a > b", table_with_gap(-.001)) == Finding::undecided);  // differences -1, 0, 1
  BOOST_CHECK(finding("a > c", table_with_gap(.05)) == Finding::undecided);
}

BOOST_AUTO_TEST_CASE(within_a_margin) {
  BOOST_CHECK(finding("b >= a - 2", table_with_gap(.01)) == Finding::supported);
  BOOST_CHECK(finding("b >= a - 2", table_with_gap(.05)) == Finding::not_supported);
  BOOST_CHECK(finding("b >= a - 2", table_with_gap(.019)) ==
              Finding::undecided);  // differences from 1.9 to 2.1
}

BOOST_AUTO_TEST_CASE(the_number_of_statements_counts) {
  ScoreTable table = table_with_gap(.05);
  table.tasks.pop_back();
  table.num_seeds = 3;
  // Six pairs: p = 1/32 alone, above 0.05 if two are tested.
  for (ScoreCell& entry : table.cells) {
    if (entry.task == "t3" || entry.task == "t4") entry.scores.assign(3, std::nullopt);
  }
  BOOST_CHECK(finding("a > b", table) == Finding::supported);
  const auto both = test_statements({"a > b", "a > b"}, table, {});
  BOOST_CHECK(both[0].finding == Finding::undecided && both[1].finding == Finding::undecided);
  BOOST_CHECK(overall_finding(both) == Finding::undecided);
}

BOOST_AUTO_TEST_CASE(groups_of_rows_are_averaged_run_by_run) {
  ScoreTable table = table_with_gap(.05);
  const auto test = compare_rows(table, "*", "b");  // (a + b) / 2 - b
  BOOST_REQUIRE(test.has_value());
  BOOST_CHECK(std::abs(test->difference - (.05 + .001) / 2) <= 1e-15);
  BOOST_TEST(test->test.num_pairs == 12);
  BOOST_CHECK(!compare_rows(table, "x*", "b").has_value());
}

BOOST_AUTO_TEST_CASE(components) {
  const ScoreTable table = table_with_gap(0);
  const std::vector<ComponentMeasurements> twice = {measurements(2)}, half = {measurements(.5)};
  BOOST_CHECK(finding("drift big > layers", table, twice) == Finding::supported);
  BOOST_CHECK(finding("drift big > layers", table, half) == Finding::not_supported);
  BOOST_CHECK(finding("drift big > small", table, twice) == Finding::supported);
  BOOST_CHECK(finding("fisher big > layers", table, twice) == Finding::undecided);  // not measured
  BOOST_CHECK(finding("drift none > layers", table, twice) == Finding::undecided);
  const auto tested = test_statements({"drift big > layers"}, table, twice).front();
  BOOST_TEST(tested.evidence == "ratio 2 (95 % interval 2 to 2; p = 0.00049, corrected 0.00049; 12 runs)");
}

BOOST_AUTO_TEST_CASE(ranks) {
  const ComponentMeasurements twice = measurements(2);
  const std::vector<ComponentRank> ranks = rank_components(twice, twice.components);
  BOOST_REQUIRE_EQUAL(ranks.size(), 3u);
  BOOST_TEST(ranks[0].name == "big");
  BOOST_CHECK(std::abs(ranks[0].mean - .04) <= 1e-15);
  BOOST_TEST(ranks[0].first_in_runs == 12);
  BOOST_TEST(ranks[2].name == "noise");
  BOOST_TEST(ranks[2].first_in_runs == 0);
}

BOOST_AUTO_TEST_CASE(the_verdict) {
  const auto with = [](std::vector<Finding> findings) {
    std::vector<TestedStatement> statements;
    for (const Finding each : findings) statements.push_back({.finding = each});
    return overall_finding(statements);
  };
  using enum Finding;
  BOOST_CHECK(with({supported, supported}) == supported);
  BOOST_CHECK(with({supported, undecided}) == undecided);
  BOOST_CHECK(with({undecided, not_supported}) == not_supported);
  BOOST_CHECK(with({}) == undecided);
}

BOOST_AUTO_TEST_SUITE_END()
