#include "tensor/change.h"

#include <cmath>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(change)

namespace {

/// `before` with every third element moved by up to `scale`.
Tensor every_third_moved(const Tensor& before, double scale) {
  const Tensor after = before.clone(), change = random_tensor(before.shape(), before.dtype(), 9, scale);
  dispatch_floating(before.dtype(), [&]<typename T>() {
    for (int64_t i = 0; i < before.numel(); i += 3) after.data<T>()[i] += change.data<T>()[i];
  });
  return after;
}

Tensor sums_of(const Tensor& before, const Tensor& after, int64_t piece, const Tensor* change = nullptr,
               const Tensor* histogram = nullptr) {
  const int64_t pieces = (before.numel() + piece - 1) / piece;
  const Tensor sums = Tensor::full({pieces, ChangeTerms::num_results}, NAN, DType::float64);
  cpu().sum_changes({.before = before,
                     .after = after,
                     .piece = piece,
                     .sums = sums,
                     .change = change,
                     .histogram = histogram});
  return sums;
}

}  // namespace

BOOST_AUTO_TEST_CASE(sums_of_each_piece) {
  for_each_setting([](DType dtype) {
    const Tensor before = random_tensor({70, 11}, dtype, 1), after = every_third_moved(before, 0.1);
    const Tensor change = Tensor::empty({70, 11}, DType::float32);
    constexpr size_t piece = 100;  // 7 pieces and one of 70 elements
    const std::vector<double> found = values_of(sums_of(before, after, piece, &change)),
                              b = values_of(before), a = values_of(after), changes = values_of(change);
    for (size_t begin = 0; begin < b.size(); begin += piece) {
      double expected[7] = {};
      for (size_t i = begin; i < std::min(begin + piece, b.size()); ++i) {
        const double distance = std::abs(a[i] - b[i]);
        expected[0] += a[i] != b[i] ? 1 : 0;
        expected[1] += distance;
        expected[2] += std::pow(distance, 2);
        expected[3] += std::pow(b[i], 2);
        expected[4] += std::pow(a[i], 2);
        expected[5] += a[i] * b[i];
        expected[6] = std::max(expected[6], distance);
        BOOST_TEST(changes[i] == static_cast<double>(static_cast<float>(distance)));
      }
      for (size_t k = 0; k < 7; ++k) {
        BOOST_CHECK_LE(std::abs(found[begin / piece * 7 + k] - expected[k]), 1e-12 * (1 + expected[k]));
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(a_histogram_counts_magnitudes) {
  const Tensor before = Tensor::zeros({6}, DType::float32),
               after = Tensor::from_values({6}, std::vector<float>{0, 1, -1, 1e-38F, 3e38F, -0.F});
  const Tensor counts = Tensor::full({MagnitudeBins::count}, 5, DType::int64);
  sums_of(before, after, 4, nullptr, &counts);
  std::vector<int64_t> expected(static_cast<size_t>(MagnitudeBins::count), 5);
  for (const auto& [magnitude, number] : {std::pair{0.0, 2}, {1.0, 2}, {1e-38, 1}, {3e38, 1}}) {
    expected[static_cast<size_t>(MagnitudeBins::bin_of(magnitude))] += number;
  }
  BOOST_TEST(counts.to_vector<int64_t>() == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(bins_tell_a_magnitude_within_one_percent) {
  BOOST_TEST(MagnitudeBins::value_of(MagnitudeBins::bin_of(0)) == 0);
  for (double magnitude = 1e-45; magnitude < 1e39; magnitude *= 1.037) {
    const double middle = MagnitudeBins::value_of(MagnitudeBins::bin_of(magnitude));
    BOOST_CHECK_LE(std::abs(middle / magnitude - 1), 0.01);
  }
  BOOST_TEST(MagnitudeBins::bin_of(1e-300) == 1);
  BOOST_TEST(MagnitudeBins::bin_of(HUGE_VAL) == MagnitudeBins::count - 1);
}

BOOST_AUTO_TEST_CASE(bits_do_not_depend_on_threads) {
  const Tensor before = random_tensor({40'000}, DType::float32, 1), after = every_third_moved(before, 1e-3);
  check_bits_for_any_threads("sum_changes", [&] {
    const Tensor change = Tensor::empty_like(before),
                 counts = Tensor::zeros({MagnitudeBins::count}, DType::int64);
    const Tensor sums = sums_of(before, after, 1000, &change, &counts);
    return std::vector<Tensor>{sums, change, counts};
  });
}

BOOST_AUTO_TEST_SUITE_END()
