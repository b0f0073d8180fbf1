#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace normtune {

/// Differences of paired observations by stratum: of two methods, for each task the differences of the runs
/// with equal seeds. Strata may differ in size; empty ones do not count.
using PairedDifferences = std::vector<std::vector<double>>;

/// The mean over the strata of their mean differences, so that each task counts the same. Throws
/// std::invalid_argument if there is no difference at all.
double stratified_mean(const PairedDifferences& differences);

/// The middle one of the sorted values; of an even number, the mean of the two in the middle.
double median(std::vector<double> values);

/// How a permutation test came to its p.
struct PermutationTest {
  double p = 1;
  bool exact = true;        ///< all assignments were enumerated
  int64_t num_pairs = 0;    ///< over all strata
  int64_t assignments = 0;  ///< enumerated or drawn
};

/// Pairs up to which all 2^n signs are enumerated; beyond, signs are drawn.
inline constexpr int64_t max_enumerated_pairs = 22;

/// Two-sided sign-flip permutation test (Fisher's randomisation test for pairs): if the methods were
/// exchangeable, the sign of each difference d_i would be a coin. The statistic is stratified_mean();
///
///   p = share of the assignments of signs s in {-1, 1}^n with |mean(s d)| >= |mean(d)|
///
/// Exact up to max_enumerated_pairs; beyond, `num_draws` random assignments from `seed`, of which the
/// observed one counts as another: p = (1 + hits) / (1 + num_draws). n pairs can reach no p below 2^(1-n).
PermutationTest sign_flip_test(const PairedDifferences& differences, int64_t num_draws = 100000,
                               uint64_t seed = 1);

/// The smallest p that so many pairs can reach.
double smallest_sign_flip_p(int64_t num_pairs);

/// p values corrected for their number (Holm 1979): sorted ascending, the i-th (from 0) of m is multiplied by
/// m - i, none falls below its predecessor, and none exceeds 1. In the order of the input.
std::vector<double> holm_correction(std::span<const double> p_values);

/// A p value for people: "0.031", "2.4e-05".
std::string p_text(double p);

/// An interval of numbers.
struct Interval {
  double low = 0, high = 0;
};

/// Percentile bootstrap interval of stratified_mean(): pairs are drawn again with replacement within each
/// stratum `num_draws` times, and the (1 - coverage) / 2 quantiles of the means are taken (linear
/// interpolation, as numpy.quantile). With few pairs in a stratum it is too narrow: it knows no values but
/// those it was given.
Interval bootstrap_interval(const PairedDifferences& differences, double coverage = 0.95,
                            int64_t num_draws = 10000, uint64_t seed = 1);

struct KruskalWallisTest {
  double h = 0;  ///< corrected for ties
  int64_t degrees_of_freedom = 0;
  double p = 1;  ///< by the chi-squared approximation, rough for groups of fewer than five
};

/// Do the groups come from one distribution (Kruskal and Wallis 1952)? Nothing if there are fewer than two
/// groups with observations or if all observations are equal.
std::optional<KruskalWallisTest> kruskal_wallis_test(const std::vector<std::vector<double>>& groups);

/// Two classifiers on the same examples.
struct McNemarTest {
  int64_t only_first = 0, only_second = 0;  ///< examples that one alone answers correctly
  double p = 1;                             ///< exact: binomial with probability 1/2, two-sided
};

/// `first` and `second` say of each example whether the answer is right. Throws std::invalid_argument if they
/// are not of the same examples.
McNemarTest mcnemar_test(const std::vector<bool>& first, const std::vector<bool>& second);

}  // namespace normtune
