#include <cmath>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(dropout)

BOOST_AUTO_TEST_CASE(keeps_what_the_definition_keeps) {
  for_each_setting([](DType dtype) {
    // Widths around the blocks in which the words are made (4 counters of a vector, 32 to 128 channels).
    for (const int64_t columns : {1, 2, 3, 4, 5, 15, 31, 32, 63, 64, 65, 127, 128, 129, 300}) {
      const Tensor x = random_tensor({7, columns}, dtype, 1), y = Tensor::empty_like(x);
      const DropoutMask mask = random_mask(7, 0.3);
      std::vector<double> expected = values_of(x);
      for (int64_t i = 0; i < x.numel(); ++i) {
        expected[static_cast<size_t>(i)] *= dropout_factor(mask, i / columns, i % columns);
      }
      cpu().dropout(x, mask, y);
      BOOST_CHECK(largest_error(values_of(y), expected) <= elementwise.of(dtype));
      cpu().dropout(x, mask, x);
      BOOST_TEST(equal_bits(x, y));
    }
  });
}

BOOST_AUTO_TEST_CASE(an_element_is_kept_in_any_packing) {
  for_each_setting([](DType dtype) {
    const DropoutMask mask = random_mask(30, 0.4);
    const Tensor ones = Tensor::full({30, 77}, 1, dtype), all = Tensor::empty_like(ones);
    cpu().dropout(ones, mask, all);
    for (int64_t row = 0; row < 30; ++row) {
      DropoutMask alone = mask;
      alone.example_ids = mask.example_ids.slice(row, row + 1);
      alone.positions = mask.positions.slice(row, row + 1);
      const Tensor one = Tensor::empty({1, 77}, dtype);
      cpu().dropout(ones.slice(row, row + 1), alone, one);
      BOOST_TEST(equal_bits(one, all.slice(row, row + 1)));
    }
  });
}

BOOST_AUTO_TEST_CASE(keeps_the_mean) {
  for_each_setting([](DType dtype) {
    for (const double probability : {0.1, 0.5, 0.9}) {
      const Tensor ones = Tensor::full({400, 768}, 1, dtype), y = Tensor::empty_like(ones);
      cpu().dropout(ones, random_mask(400, probability), y);
      double kept = 0, total = 0;
      for (const double value : values_of(y)) {
        kept += value != 0;
        total += value;
      }
      const double count = 400 * 768;
      // Five standard deviations of a binomial share.
      const double tolerance = 5 * std::sqrt(probability * (1 - probability) / count);
      BOOST_CHECK(std::abs(kept / count - (1 - probability)) <= tolerance);
      BOOST_CHECK(std::abs(total / count - 1) <= tolerance / (1 - probability));
    }
  });
}

BOOST_AUTO_TEST_CASE(rows_steps_and_sites_have_masks_of_their_own) {
  const Tensor ones = Tensor::full({6, 256}, 1, DType::float32);
  const auto masked = [&](DropoutMask mask) {
    const Tensor y = Tensor::empty_like(ones);
    cpu().dropout(ones, mask, y);
    return y;
  };
  const DropoutMask mask = random_mask(6, 0.5);
  const Tensor first = masked(mask);
  for (int64_t row = 1; row < 6; ++row) BOOST_TEST(!equal_bits(first.slice(0, 1), first.slice(row, row + 1)));
  DropoutMask other = mask;
  other.key = dropout_key(1, 3, 3);
  BOOST_TEST(!equal_bits(first, masked(other)));
  other.key = dropout_key(1, 2, 4);
  BOOST_TEST(!equal_bits(first, masked(other)));
}

BOOST_AUTO_TEST_CASE(without_probability_it_copies) {
  const Tensor x = random_tensor({3, 5}, DType::float32, 1), y = Tensor::empty_like(x);
  cpu().dropout(x, no_mask(), y);
  BOOST_TEST(equal_bits(x, y));
}

BOOST_AUTO_TEST_SUITE_END()
