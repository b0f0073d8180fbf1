#include <cmath>
#include <limits>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(reductions)

BOOST_AUTO_TEST_CASE(column_sums) {
  for_each_setting([](DType dtype) {
    for (const auto& [rows, columns] :
         {std::pair<int64_t, int64_t>{0, 3}, {1, 5}, {31, 1}, {64, 7}, {3001, 33}}) {
      const Tensor x = random_tensor({rows, columns + 4}, dtype, 1), output = Tensor::empty({columns}, dtype);
      const MatrixRef input = MatrixRef(x).columns(3, 3 + columns);
      std::vector<double> expected(static_cast<size_t>(columns), 0);
      const std::vector<double> values = values_of(input);
      for (size_t i = 0; i < values.size(); ++i) expected[i % expected.size()] += values[i];
      cpu().column_sums({.input = input, .outputs = {output}});
      BOOST_CHECK(largest_error(values_of(output), expected) <= reduction.of(dtype));
    }
  });
}

BOOST_AUTO_TEST_CASE(column_sums_side_by_side) {
  for_each_setting([](DType dtype) {
    const Tensor x = random_tensor({70, 9}, dtype, 1), all = Tensor::empty({9}, dtype);
    const std::vector<Tensor> parts{Tensor::empty({2}, dtype), Tensor::empty({6}, dtype),
                                    Tensor::empty({1}, dtype)};
    cpu().column_sums({.input = x, .outputs = {all}});
    cpu().column_sums({.input = x, .outputs = parts});
    BOOST_TEST(equal_bits(parts[0], all.slice(0, 2)));
    BOOST_TEST(equal_bits(parts[1], all.slice(2, 8)));
    BOOST_TEST(equal_bits(parts[2], all.slice(8, 9)));
  });
}

BOOST_AUTO_TEST_CASE(sum_of_all_elements) {
  for_each_setting([](DType dtype) {
    for (const int64_t size : {0, 1, 17, 100'003}) {
      const Tensor x = random_tensor({size}, dtype, 1), output = Tensor::empty({}, dtype);
      double expected = 0;
      for (const double value : values_of(x)) expected += value;
      cpu().sum(x, output);
      BOOST_CHECK(largest_error(values_of(output), {expected}) <= elementwise.of(dtype) * 10);
    }
  });
}

BOOST_AUTO_TEST_CASE(squared_norm_of_all_and_of_listed_elements) {
  for_each_setting([](DType dtype) {
    const Tensor x = random_tensor({100'003}, dtype, 1);
    const std::vector<double> values = values_of(x);
    double all = 0;
    for (const double value : values) all += value * value;
    BOOST_CHECK(std::abs(squared_norm(x) / all - 1) <= 1e-12);
    std::vector<int64_t> listed;
    double some = 0;
    for (int64_t i = 2; i < x.numel(); i += 3) {
      listed.push_back(i);
      some += values[static_cast<size_t>(i)] * values[static_cast<size_t>(i)];
    }
    const Tensor index = indices64(listed);
    BOOST_CHECK(std::abs(squared_norm(x, &index) / some - 1) <= 1e-12);
  });
}

BOOST_AUTO_TEST_CASE(squared_norm_shows_what_is_not_finite) {
  for_each_setting([](DType dtype) {
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      const Tensor x = random_tensor({1001}, dtype, 1);
      Tensor last = x.slice(1000, 1001);
      last.fill(bad);
      BOOST_TEST(!std::isfinite(squared_norm(x)));
    }
    // Squares of large floats do not overflow.
    BOOST_TEST(std::isfinite(squared_norm(Tensor::full({100}, 1e30, DType::float32))));
  });
}

BOOST_AUTO_TEST_SUITE_END()
