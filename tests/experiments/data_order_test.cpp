#include "experiments/data_order.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <numeric>
#include <set>

namespace normtune {

namespace {

std::vector<int64_t> update(DataOrder& order, int64_t index) {
  const std::span<const int64_t> examples = order.update_examples(index);
  return {examples.begin(), examples.end()};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(data_order)

BOOST_AUTO_TEST_CASE(an_epoch_visits_every_example_once) {
  for (const int64_t count : {1, 2, 7, 1000}) {
    std::vector<int64_t> order = epoch_order(count, 42, 3, true), sorted(order.size());
    std::iota(sorted.begin(), sorted.end(), 0);
    std::sort(order.begin(), order.end());
    BOOST_CHECK(order == sorted);
  }
}

BOOST_AUTO_TEST_CASE(the_order_is_a_function_of_seed_and_epoch) {
  BOOST_CHECK(epoch_order(100, 1, 0, true) == epoch_order(100, 1, 0, true));
  BOOST_CHECK(epoch_order(100, 1, 0, true) != epoch_order(100, 1, 1, true));
  BOOST_CHECK(epoch_order(100, 1, 0, true) != epoch_order(100, 2, 0, true));
  // Recorded: orders are part of what a run id promises.
  BOOST_CHECK((epoch_order(10, 42, 0, true) == std::vector<int64_t>{2, 3, 9, 0, 6, 5, 4, 8, 7, 1}));
}

BOOST_AUTO_TEST_CASE(file_order_without_shuffle) {
  BOOST_CHECK((epoch_order(4, 42, 5, false) == std::vector<int64_t>{0, 1, 2, 3}));
}

BOOST_AUTO_TEST_CASE(every_permutation_is_equally_likely) {
  // 6 permutations of 3 examples, 6000 shuffles: a chi-square of 5 degrees of freedom is below 20.5 with
  // probability 0.999. The draw is fixed, so this passes always or never.
  std::map<std::vector<int64_t>, int> counts;
  for (uint64_t seed = 0; seed < 6000; ++seed) ++counts[epoch_order(3, seed, 0, true)];
  BOOST_REQUIRE_EQUAL(counts.size(), 6);
  double chi_square = 0;
  for (const auto& [order, count] : counts) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  BOOST_CHECK_LE(chi_square, 20.5);
}

BOOST_AUTO_TEST_CASE(ragged_batches_and_updates) {
  const BatchPlan plan{.num_examples = 11, .batch_size = 2, .accumulation_steps = 4};
  BOOST_CHECK_EQUAL(plan.batches_per_epoch(), 6);
  BOOST_CHECK_EQUAL(plan.updates_per_epoch(), 2);
  DataOrder order(plan, 42, false);
  BOOST_CHECK((update(order, 0) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  BOOST_CHECK((update(order, 1) == std::vector<int64_t>{8, 9, 10}));
  BOOST_CHECK((update(order, 2) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

BOOST_AUTO_TEST_CASE(length_of_a_run) {
  const BatchPlan plan{.num_examples = 11, .batch_size = 2, .accumulation_steps = 4};
  BOOST_CHECK_EQUAL(plan.total_updates(3, -1), 6);
  BOOST_CHECK_EQUAL(plan.total_updates(0.5, -1), 1);
  BOOST_CHECK_EQUAL(plan.total_updates(1.2, -1), 3);
  BOOST_CHECK_EQUAL(plan.total_updates(3, 5), 5);
}

BOOST_AUTO_TEST_CASE(updates_may_be_asked_for_in_any_order) {
  DataOrder forward({.num_examples = 10, .batch_size = 3}, 42, true), backward = forward;
  std::vector<std::vector<int64_t>> updates;
  for (int64_t i = 0; i < 12; ++i) updates.push_back(update(forward, i));
  for (int64_t i = 11; i >= 0; --i) BOOST_CHECK(update(backward, i) == updates[static_cast<size_t>(i)]);
  std::set<int64_t> epoch;
  for (int64_t i = 4; i < 8; ++i)
    epoch.insert(updates[static_cast<size_t>(i)].begin(), updates[static_cast<size_t>(i)].end());
  BOOST_CHECK_EQUAL(epoch.size(), 10);
}

BOOST_AUTO_TEST_CASE(refuses_sizes_that_are_not_positive) {
  BOOST_CHECK_THROW(DataOrder({.num_examples = 0, .batch_size = 3}, 42, true), std::invalid_argument);
  BOOST_CHECK_THROW(DataOrder({.num_examples = 3, .batch_size = 0}, 42, true), std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
