#include <cmath>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(softmax)

namespace {

std::vector<double> softmax_of(const std::vector<double>& logits, int64_t columns) {
  std::vector<double> probs(logits.size());
  const auto width = static_cast<size_t>(columns);
  for (size_t begin = 0; begin < logits.size(); begin += width) {
    double max = logits[begin], total = 0;
    for (size_t j = begin; j < begin + width; ++j) max = std::max(max, logits[j]);
    for (size_t j = begin; j < begin + width; ++j) total += probs[j] = std::exp(logits[j] - max);
    for (size_t j = begin; j < begin + width; ++j) probs[j] /= total;
  }
  return probs;
}

Tensor softmax_of(const Tensor& logits) {
  const Tensor probs = Tensor::empty_like(logits);
  cpu().softmax_forward(logits, probs);
  return probs;
}

}  // namespace

BOOST_AUTO_TEST_CASE(forward) {
  for_each_setting([](DType dtype) {
    for (const int64_t columns : {1, 2, 3, 16, 17, 128, 301}) {
      for (const double scale : {1.0, 50.0}) {
        const Tensor x = random_tensor({53, columns}, dtype, 1, scale);
        BOOST_CHECK(largest_error(values_of(softmax_of(x)), softmax_of(values_of(x), columns)) <=
                    elementwise.of(dtype));
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(backward) {
  for_each_setting([](DType dtype) {
    for (const int64_t columns : {1, 5, 16, 129}) {
      const Tensor probs = softmax_of(random_tensor({19, columns}, dtype, 1));
      const Tensor grad = random_tensor({19, columns}, dtype, 2);
      const std::vector<double> p = values_of(probs), g = values_of(grad);
      std::vector<double> expected(p.size());
      for (size_t i = 0; i < p.size(); ++i) {
        const size_t begin = i / static_cast<size_t>(columns) * static_cast<size_t>(columns);
        double dot = 0;
        for (size_t j = begin; j < begin + static_cast<size_t>(columns); ++j) dot += p[j] * g[j];
        expected[i] = p[i] * (g[i] - dot);
      }
      cpu().softmax_backward(probs, grad, grad);  // in place
      BOOST_CHECK(largest_error(values_of(grad), expected) <= elementwise.of(dtype));
    }
  });
}

BOOST_AUTO_TEST_CASE(hard_values) {
  for_each_setting([](DType dtype) {
    const Tensor steep =
        Tensor::from_values<double>({2, 3}, std::vector<double>{1e4, -1e4, 0, -1e4, -1e4, -1e4}).to(dtype);
    const double third = dtype == DType::float64 ? 1.0 / 3 : 1.0f / 3;
    BOOST_TEST(values_of(softmax_of(steep)) == (std::vector<double>{1, 0, 0, third, third, third}));
    for (const double value : values_of(softmax_of(Tensor::full({3, 40}, 1e30, dtype)))) {
      BOOST_CHECK(std::abs(value - 1.0 / 40) <= 1e-8);
    }
    const Tensor poisoned =
        Tensor::from_values<double>({1, 3}, std::vector<double>{0, std::nan(""), 0}).to(dtype);
    for (const double value : values_of(softmax_of(poisoned))) BOOST_TEST(std::isnan(value));
  });
}

BOOST_AUTO_TEST_SUITE_END()
