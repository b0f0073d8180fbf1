#include "experiments/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/chi_squared.hpp>
#include <cmath>
#include <numeric>

#include "experiments/random_stream.h"
#include "tensor/error.h"

namespace normtune {

namespace {

constexpr uint64_t sign_flip_purpose = 0x5167e5, bootstrap_purpose = 0xb0075;  // of random streams

int64_t count_strata(const PairedDifferences& differences) {
  return std::count_if(differences.begin(), differences.end(),
                       [](const std::vector<double>& stratum) { return !stratum.empty(); });
}

/// What each difference adds to the mean over strata.
std::vector<double> contributions(const PairedDifferences& differences) {
  const auto num_strata = static_cast<double>(count_strata(differences));
  check(num_strata > 0, "statistics: expected at least one pair, found none");
  std::vector<double> terms;
  for (const std::vector<double>& stratum : differences) {
    for (const double difference : stratum) {
      terms.push_back(difference / (num_strata * static_cast<double>(stratum.size())));
    }
  }
  return terms;
}

/// Sums that differ by less come from the order of their terms.
double rounding_of(std::span<const double> terms) {
  double size = 0;
  for (const double term : terms) size += std::abs(term);
  return 1e-12 * size;
}

/// Counts the signs of `terms` for which |sum + signed terms| reaches the bound.
int64_t count_reaching(std::span<const double> terms, double sum, double bound) {
  if (terms.empty()) return std::abs(sum) >= bound ? 1 : 0;
  const std::span<const double> others = terms.subspan(1);
  return count_reaching(others, sum + terms[0], bound) + count_reaching(others, sum - terms[0], bound);
}

double draw_signed_sum(std::span<const double> terms, RandomStream& random) {
  double sum = 0;
  uint64_t bits = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    if (i % 64 == 0) bits = random.next();
    sum += (bits & 1) != 0 ? terms[i] : -terms[i];
    bits >>= 1;
  }
  return sum;
}

/// The mean over strata of pairs drawn with replacement.
double draw_again(const PairedDifferences& differences, RandomStream& random) {
  double sum = 0;
  for (const std::vector<double>& stratum : differences) {
    if (stratum.empty()) continue;
    double stratum_sum = 0;
    const auto size = static_cast<int64_t>(stratum.size());
    for (int64_t i = 0; i < size; ++i) stratum_sum += stratum[static_cast<size_t>(random.below(size))];
    sum += stratum_sum / static_cast<double>(size);
  }
  return sum / static_cast<double>(count_strata(differences));
}

/// Between the two values around the place, linearly.
double quantile(std::span<const double> sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

struct RankedValue {
  double value = 0;
  size_t group = 0;
};

std::vector<RankedValue> sorted_values(const std::vector<std::vector<double>>& groups) {
  std::vector<RankedValue> values;
  for (size_t group = 0; group < groups.size(); ++group) {
    for (const double value : groups[group]) values.push_back({value, group});
  }
  std::sort(values.begin(), values.end(),
            [](const RankedValue& a, const RankedValue& b) { return a.value < b.value; });
  return values;
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double stratified_mean(const PairedDifferences& differences) {
  const std::vector<double> terms = contributions(differences);
  return std::accumulate(terms.begin(), terms.end(), 0.0);
}

PermutationTest sign_flip_test(const PairedDifferences& differences, int64_t num_draws, uint64_t seed) {
  const std::vector<double> terms = contributions(differences);
  const double bound = std::abs(stratified_mean(differences)) - rounding_of(terms);
  PermutationTest test{.num_pairs = static_cast<int64_t>(terms.size())};
  if (test.num_pairs <= max_enumerated_pairs) {
    // The first sign may stay: flipping all of them changes no absolute value.
    const int64_t hits = count_reaching(std::span(terms).subspan(1), terms.front(), bound);
    test.assignments = int64_t{1} << test.num_pairs;
    test.p = 2 * static_cast<double>(hits) / static_cast<double>(test.assignments);
    return test;
  }
  RandomStream random(seed, sign_flip_purpose, 0, 0);
  int64_t hits = 0;
  for (int64_t i = 0; i < num_draws; ++i) hits += std::abs(draw_signed_sum(terms, random)) >= bound ? 1 : 0;
  test.exact = false;
  test.assignments = num_draws;
  test.p = static_cast<double>(1 + hits) / static_cast<double>(1 + num_draws);
  return test;
}

double smallest_sign_flip_p(int64_t num_pairs) {
  return std::min(1.0, std::ldexp(1.0, static_cast<int>(1 - num_pairs)));
}

std::vector<double> holm_correction(std::span<const double> p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> corrected(p_values.size());
  double largest = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, static_cast<double>(order.size() - i) * p_values[order[i]]);
    corrected[order[i]] = std::min(1.0, largest);
  }
  return corrected;
}

std::string p_text(double p) {
  return p < 0.0001 ? fmt::format("{:.1e}", p) : fmt::format("{:.2g}", p);
}

Interval bootstrap_interval(const PairedDifferences& differences, double coverage, int64_t num_draws,
                            uint64_t seed) {
  check(count_strata(differences) > 0, "bootstrap_interval: expected at least one pair, found none");
  RandomStream random(seed, bootstrap_purpose, 0, 0);
  std::vector<double> means;
  for (int64_t i = 0; i < num_draws; ++i) means.push_back(draw_again(differences, random));
  std::sort(means.begin(), means.end());
  const double tail = (1 - coverage) / 2;
  return {.low = quantile(means, tail), .high = quantile(means, 1 - tail)};
}

std::optional<KruskalWallisTest> kruskal_wallis_test(const std::vector<std::vector<double>>& groups) {
  const std::vector<RankedValue> values = sorted_values(groups);
  const auto n = static_cast<double>(values.size());
  std::vector<double> rank_sums(groups.size());
  double ties = 0;  // sum of t^3 - t over runs of t equal values
  for (size_t begin = 0; begin < values.size();) {
    size_t end = begin;
    while (end < values.size() && values[end].value == values[begin].value) ++end;
    const double mean_rank = (static_cast<double>(begin + end) + 1) / 2;  // of ranks begin + 1 to end
    for (size_t i = begin; i < end; ++i) rank_sums[values[i].group] += mean_rank;
    const auto count = static_cast<double>(end - begin);
    ties += count * count * count - count;
    begin = end;
  }
  const double correction = 1 - ties / (n * n * n - n);
  int64_t num_groups = 0;
  double sum = 0;  // of R^2 / n_group
  for (size_t group = 0; group < groups.size(); ++group) {
    if (groups[group].empty()) continue;
    ++num_groups;
    sum += rank_sums[group] * rank_sums[group] / static_cast<double>(groups[group].size());
  }
  if (num_groups < 2 || !(correction > 0)) return std::nullopt;
  KruskalWallisTest test{.h = (12 / (n * (n + 1)) * sum - 3 * (n + 1)) / correction,
                         .degrees_of_freedom = num_groups - 1};
  const boost::math::chi_squared distribution(static_cast<double>(test.degrees_of_freedom));
  test.p = boost::math::cdf(boost::math::complement(distribution, std::max(0.0, test.h)));
  return test;
}

McNemarTest mcnemar_test(const std::vector<bool>& first, const std::vector<bool>& second) {
  check(first.size() == second.size(), "mcnemar_test: expected the same examples, found {} and {}",
        first.size(), second.size());
  McNemarTest test;
  for (size_t i = 0; i < first.size(); ++i) {
    test.only_first += first[i] && !second[i] ? 1 : 0;
    test.only_second += second[i] && !first[i] ? 1 : 0;
  }
  const int64_t discordant = test.only_first + test.only_second;
  if (discordant == 0) return test;
  const boost::math::binomial coin(static_cast<double>(discordant), 0.5);
  const auto smaller = static_cast<double>(std::min(test.only_first, test.only_second));
  test.p = std::min(1.0, 2 * boost::math::cdf(coin, smaller));
  return test;
}

}  // namespace normtune
