#include "experiments/statistics.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "nn/json_file.h"

using namespace normtune;

namespace {

nlohmann::json recorded_statistics(const std::string& key) {
  const std::filesystem::path file = std::filesystem::path(NORMTUNE_TEST_FILES) / "statistics.json";
  return read_json_file(file, ErrorKind::data).at(key);
}

void check_near(double found, double expected, double tolerance = 1e-12) {
  BOOST_CHECK_MESSAGE(std::abs(found - expected) <= tolerance, found << " != " << expected);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(statistics)

BOOST_AUTO_TEST_CASE(sign_flips_equal_scipy) {
  for (const nlohmann::json& entry : recorded_statistics("sign_flip")) {
    BOOST_TEST_CONTEXT(entry.at("name")) {
      const PairedDifferences strata = entry.at("strata");
      const PermutationTest test = sign_flip_test(strata);
      BOOST_TEST(test.exact);
      check_near(test.p, entry.at("p"));
      check_near(stratified_mean(strata), entry.at("mean"));
    }
  }
}

BOOST_AUTO_TEST_CASE(sign_flips_by_hand) {
  // +1 +2: only +3 and -3 of the four sums reach 3.
  BOOST_TEST(sign_flip_test({{1, 2}}).p == 0.5);
  BOOST_TEST(sign_flip_test({{1, -2}}).p == 1);  // |1| or more is reached by all
  const PairedDifferences twelve(4, std::vector<double>{.1, .2, .3});
  BOOST_TEST(sign_flip_test(twelve).p == std::ldexp(1, -11));  // testing.md's 0.0005
  BOOST_TEST(sign_flip_test(twelve).p == smallest_sign_flip_p(12));
  BOOST_TEST(sign_flip_test(twelve).assignments == 4096);
  BOOST_CHECK_THROW(sign_flip_test({{}, {}}), std::invalid_argument);
}

/// Equal in mathematics is equal in the test, whatever the order of the sums.
BOOST_AUTO_TEST_CASE(ties_reach_the_observed_value) {
  BOOST_TEST(sign_flip_test({{.1, .2, .3, -.6}}).p == 1);
  BOOST_TEST(sign_flip_test({{.1, .1, .1}, {.7, .7, .7}}).p == std::ldexp(1, -5));
}

BOOST_AUTO_TEST_CASE(many_pairs_are_drawn_and_come_near_the_exact_p) {
  PairedDifferences pairs(1);
  for (int i = 0; i < 20; ++i) pairs[0].push_back(std::sin(3.0 * i) + .35);
  const double exact = sign_flip_test(pairs).p;
  PairedDifferences more = pairs;
  for (int i = 0; i < 5; ++i) more[0].push_back(0);  // changes neither sums nor p
  const PermutationTest drawn = sign_flip_test(more);
  BOOST_TEST(!drawn.exact);
  BOOST_TEST(drawn.assignments == 100000);
  const double standard_error = std::sqrt(exact * (1 - exact) / 100000);
  check_near(drawn.p, exact, 4 * standard_error + 1e-5);
  BOOST_TEST(drawn.p == sign_flip_test(more).p);
  BOOST_TEST(drawn.p != sign_flip_test(more, 100000, 2).p);
}

BOOST_AUTO_TEST_CASE(holm) {
  for (const nlohmann::json& entry : recorded_statistics("holm")) {
    const std::vector<double> p_values = entry.at("p"), expected = entry.at("corrected");
    const std::vector<double> corrected = holm_correction(p_values);
    BOOST_REQUIRE_EQUAL(corrected.size(), expected.size());
    for (size_t i = 0; i < corrected.size(); ++i) check_near(corrected[i], expected[i]);
  }
  BOOST_TEST(holm_correction({}).empty());
}

BOOST_AUTO_TEST_CASE(bootstrap_is_near_scipys) {
  for (const nlohmann::json& entry : recorded_statistics("bootstrap")) {
    const Interval interval = bootstrap_interval(entry.at("strata"));
    const double scatter = .05 * entry.at("standard_error").get<double>();
    check_near(interval.low, entry.at("low"), scatter);
    check_near(interval.high, entry.at("high"), scatter);
  }
}

BOOST_AUTO_TEST_CASE(bootstrap_by_hand) {
  // One value a stratum: nothing else can be drawn.
  const Interval constant = bootstrap_interval({{.25}, {.75}});
  BOOST_TEST(constant.low == .5);
  BOOST_TEST(constant.high == .5);
  // Of {0, 1}, a quarter of the draws gives 0 and a quarter 1.
  const Interval half = bootstrap_interval({{0, 1}}, .4);
  BOOST_TEST(half.low == .5);
  BOOST_TEST(half.high == .5);
  const Interval wide = bootstrap_interval({{0, 1}}, .6);
  BOOST_TEST(wide.low == 0);
  BOOST_TEST(wide.high == 1);
}

BOOST_AUTO_TEST_CASE(kruskal_wallis_equals_scipy) {
  for (const nlohmann::json& entry : recorded_statistics("kruskal")) {
    BOOST_TEST_CONTEXT(entry.at("name")) {
      const std::vector<std::vector<double>> groups = entry.at("groups");
      const auto test = kruskal_wallis_test(groups);
      BOOST_REQUIRE(test.has_value());
      check_near(test->h, entry.at("h"));
      check_near(test->p, entry.at("p"));
    }
  }
  BOOST_TEST(!kruskal_wallis_test({{1, 1}, {1}}).has_value());
  BOOST_TEST(!kruskal_wallis_test({{1, 2}, {}}).has_value());
  BOOST_TEST(!kruskal_wallis_test({}).has_value());
}

BOOST_AUTO_TEST_CASE(mcnemar_equals_scipy) {
  for (const nlohmann::json& entry : recorded_statistics("mcnemar")) {
    const auto only_first = entry.at("only_first").get<size_t>(),
               only_second = entry.at("only_second").get<size_t>();
    std::vector<bool> first(only_first + only_second + 3), second(first.size());
    for (size_t i = 0; i < first.size(); ++i) {
      first[i] = i < only_first || i + 1 == first.size();  // the last: both are right
      second[i] = (i >= only_first && i < only_first + only_second) || i + 1 == first.size();
    }
    const McNemarTest test = mcnemar_test(first, second);
    BOOST_TEST(test.only_first == static_cast<int64_t>(only_first));
    BOOST_TEST(test.only_second == static_cast<int64_t>(only_second));
    check_near(test.p, entry.at("p"));
  }
  BOOST_CHECK_THROW(mcnemar_test({true}, {true, false}), std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
