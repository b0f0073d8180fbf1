#include <cmath>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(losses)

namespace {

struct LossAndGradient {
  double loss = 0;
  std::vector<double> gradient;
};

LossAndGradient cross_entropy_reference(const Tensor& logits, const std::vector<int32_t>& labels,
                                        double scale) {
  const std::vector<double> x = values_of(logits);
  const auto classes = static_cast<size_t>(logits.size(1));
  LossAndGradient result{.gradient = std::vector<double>(x.size(), 0)};
  for (size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] < 0) continue;
    const double* begin = x.data() + row * classes;
    const double max = *std::max_element(begin, begin + classes);
    double total = 0;
    for (size_t j = 0; j < classes; ++j) total += std::exp(begin[j] - max);
    result.loss += (std::log(total) + (max - begin[labels[row]])) * scale;
    for (size_t j = 0; j < classes; ++j) {
      const double target = static_cast<size_t>(labels[row]) == j ? 1 : 0;
      result.gradient[row * classes + j] = (std::exp(begin[j] - max) / total - target) * scale;
    }
  }
  return result;
}

void check_cross_entropy(const Tensor& logits, const std::vector<int32_t>& labels, double scale) {
  const LossAndGradient expected = cross_entropy_reference(logits, labels, scale);
  const Tensor loss = Tensor::empty({}, logits.dtype()), gradient = Tensor::empty_like(logits);
  cpu().cross_entropy(
      {.logits = logits, .labels = indices(labels), .scale = scale, .loss = loss, .grad_logits = &gradient});
  BOOST_CHECK(largest_error(values_of(loss), {expected.loss}) <= elementwise.of(logits.dtype()));
  BOOST_CHECK(largest_error(values_of(gradient), expected.gradient) <= elementwise.of(logits.dtype()));
  const Tensor alone = Tensor::empty({}, logits.dtype());
  cpu().cross_entropy(
      {.logits = logits, .labels = indices(labels), .scale = scale, .loss = alone, .grad_logits = nullptr});
  BOOST_TEST(equal_bits(loss, alone));
}

}  // namespace

BOOST_AUTO_TEST_CASE(cross_entropy) {
  for_each_setting([](DType dtype) {
    check_cross_entropy(random_tensor({5, 3}, dtype, 1), {0, 2, -1, 1, 1}, 1.0 / 4);
    check_cross_entropy(random_tensor({1, 1}, dtype, 1), {0}, 1);
    check_cross_entropy(random_tensor({7, 3001}, dtype, 2, 10), {3000, 0, 5, -1, 77, 2, 1}, 0.1);
    check_cross_entropy(random_tensor({2, 3}, dtype, 3), {-1, -1}, 1);
  });
}

BOOST_AUTO_TEST_CASE(cross_entropy_of_large_and_equal_logits) {
  for_each_setting([](DType dtype) {
    check_cross_entropy(Tensor::full({3, 4}, -1e4, dtype), {0, 1, 3}, 1);
    check_cross_entropy(random_tensor({6, 2}, dtype, 4, 1e4), {0, 1, 0, 1, 0, 1}, 1.0 / 6);
    check_cross_entropy(random_tensor({6, 2}, dtype, 4, 1, 1e4), {0, 1, 0, 1, 0, 1}, 1.0 / 6);
  });
}

BOOST_AUTO_TEST_CASE(squared_error) {
  for_each_setting([](DType dtype) {
    const Tensor predictions = random_tensor({33}, dtype, 1), targets = random_tensor({33}, dtype, 2);
    const std::vector<double> p = values_of(predictions), t = values_of(targets);
    double expected = 0;
    std::vector<double> gradient;
    for (size_t i = 0; i < p.size(); ++i) {
      expected += (p[i] - t[i]) * (p[i] - t[i]) / 33;
      gradient.push_back(2 * (p[i] - t[i]) / 33);
    }
    const Tensor loss = Tensor::empty({}, dtype), grad = Tensor::empty_like(predictions);
    cpu().squared_error({.predictions = predictions,
                         .targets = targets,
                         .scale = 1.0 / 33,
                         .loss = loss,
                         .grad_predictions = &grad});
    BOOST_CHECK(largest_error(values_of(loss), {expected}) <= elementwise.of(dtype));
    BOOST_CHECK(largest_error(values_of(grad), gradient) <= elementwise.of(dtype));
    cpu().squared_error({.predictions = predictions,
                         .targets = targets,
                         .scale = 1.0 / 33,
                         .loss = loss,
                         .grad_predictions = nullptr});
    BOOST_CHECK(largest_error(values_of(loss), {expected}) <= elementwise.of(dtype));
  });
}

BOOST_AUTO_TEST_SUITE_END()
