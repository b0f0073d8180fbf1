#include <cmath>

#include "autograd/cross_entropy_loss.h"
#include "autograd/mse_loss.h"
#include "autograd/scale.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

OpCase cross_entropy_case(std::string variant, const Tensor& logits, const std::vector<int32_t>& labels,
                          double factor) {
  const int64_t num_classes = logits.size(1);
  return {"cross_entropy_loss",
          std::move(variant),
          {logits},
          [=](const auto& x) { return cross_entropy_loss(x[0], indices(labels), factor); },
          plain({}, [=](const auto& inputs, auto& output) {
            for (size_t i = 0; i < labels.size(); ++i) {
              if (labels[i] < 0) continue;
              const double* const row = inputs[0].data() + i * num_classes;
              double denominator = 0;
              for (int64_t j = 0; j < num_classes; ++j) denominator += std::exp(row[j]);
              output[0] += factor * (std::log(denominator) - row[labels[i]]);
            }
          })};
}

OpCase mse_case(std::string variant, const Tensor& predictions, double factor) {
  const int64_t n = predictions.size(0);
  const Tensor targets = random_tensor({n}, 2);
  return {"mse_loss",
          std::move(variant),
          {predictions},
          [=](const auto& x) { return mse_loss(x[0], targets.to(x[0].dtype()), factor); },
          plain({}, [=](const auto& inputs, auto& output) {
            const auto expected = targets.to_vector<double>();
            for (int64_t i = 0; i < n; ++i) {
              output[0] += factor * (inputs[0][i] - expected[i]) * (inputs[0][i] - expected[i]);
            }
          })};
}

const RegisterOpCases losses_cases{
    cross_entropy_case("mean", random_tensor({5, 3}), {0, 2, 1, 1, 0}, 0.2),
    cross_entropy_case("rows left out", random_slice({7, 11}), {-1, 10, 0, -1, 3, 3, -1}, 0.25),
    cross_entropy_case("one class", random_tensor({3, 1}), {0, 0, -1}, 1),
    cross_entropy_case("many classes", random_tensor({2, 131}), {130, 17}, 0.5),
    mse_case("vector", random_tensor({7}), 1 / 7.0),
    mse_case("column", random_slice({5, 1}), 0.2),
    mse_case("one", random_tensor({1}), 1),
};

}  // namespace

BOOST_AUTO_TEST_SUITE(losses)

BOOST_AUTO_TEST_CASE(cross_entropy_of_large_logits_stays_exact) {
  for (DType dtype : {DType::float32, DType::float64}) {
    const Variable logits(Tensor::from_values({2, 2}, std::vector<double>{1e4, -1e4, -1e4, 1e4}).to(dtype),
                          /*requires_grad=*/true);
    const Variable loss = cross_entropy_loss(logits, indices({0, 0}), 1);
    BOOST_CHECK_LE(std::abs(loss.tensor().item() - 2e4), 1e-2);
    loss.backward();
    BOOST_CHECK(values_of(logits.grad()) == (std::vector<double>{0, 0, -1, 1}));
  }
}

BOOST_AUTO_TEST_CASE(equal_logits_give_the_logarithm_of_the_number_of_classes) {
  const Variable logits(Tensor::full({2, 5}, -3.0, DType::float64));
  BOOST_CHECK_LE(std::abs(cross_entropy_loss(logits, indices({4, 0}), 0.5).tensor().item() - std::log(5.0)),
                 1e-14);
}

BOOST_AUTO_TEST_CASE(no_label_no_loss) {
  const Variable logits = random_variable({2, 3});
  const Variable loss = cross_entropy_loss(logits, indices({-1, -1}), 1);
  BOOST_TEST(loss.tensor().item() == 0);
  loss.backward();
  BOOST_CHECK(values_of(logits.grad()) == std::vector<double>(6, 0.0));
}

BOOST_AUTO_TEST_CASE(a_loss_may_be_scaled_before_backward) {
  const Variable logits = random_variable({2, 3}), twice = random_variable({2, 3});
  cross_entropy_loss(logits, indices({1, 2}), 1).backward();
  scale(cross_entropy_loss(twice, indices({1, 2}), 1), 2).backward();
  auto expected = values_of(logits.grad());
  for (double& value : expected) value *= 2;
  BOOST_CHECK(values_of(twice.grad()) == expected);
}

BOOST_AUTO_TEST_CASE(labels_that_do_not_fit_are_refused) {
  const Variable logits = random_variable({2, 3});
  BOOST_CHECK_EXCEPTION(cross_entropy_loss(logits, indices({0, 3}), 1), std::invalid_argument,
                        says("cross_entropy_loss: expected labels in [-1, 3), found 3 at position 1"));
  BOOST_CHECK_EXCEPTION(cross_entropy_loss(logits, indices({-2, 0}), 1), std::invalid_argument,
                        says("cross_entropy_loss: expected labels in [-1, 3), found -2 at position 0"));
  BOOST_CHECK_EXCEPTION(cross_entropy_loss(logits, indices({0}), 1), std::invalid_argument,
                        says("cross_entropy_loss: expected labels of shape [2], found [1]"));
  BOOST_CHECK_EXCEPTION(cross_entropy_loss(logits, random_tensor({2}), 1), std::invalid_argument,
                        says("cross_entropy_loss: expected labels of dtype int32, found float64"));
  BOOST_CHECK_EXCEPTION(cross_entropy_loss(logits, Tensor(), 1), std::invalid_argument,
                        says("cross_entropy_loss: labels is undefined"));
  BOOST_CHECK_EXCEPTION(cross_entropy_loss(random_variable({2}), indices({0, 0}), 1), std::invalid_argument,
                        says("cross_entropy_loss: expected logits with 2 dimensions, found shape [2]"));
  BOOST_CHECK_EXCEPTION(cross_entropy_loss(Variable(), indices({0, 0}), 1), std::invalid_argument,
                        says("cross_entropy_loss: operand 0 is undefined"));
}

BOOST_AUTO_TEST_CASE(targets_that_do_not_fit_are_refused) {
  BOOST_CHECK_EXCEPTION(mse_loss(random_variable({3}), random_tensor({2}), 1), std::invalid_argument,
                        says("mse_loss: expected predictions of shape [2] or [2, 1], found [3]"));
  BOOST_CHECK_EXCEPTION(mse_loss(random_variable({1, 3}), random_tensor({3}), 1), std::invalid_argument,
                        says("mse_loss: expected predictions of shape [3] or [3, 1], found [1, 3]"));
  BOOST_CHECK_EXCEPTION(mse_loss(random_variable({3}), random_tensor({3, 1}), 1), std::invalid_argument,
                        says("mse_loss: expected targets with 1 dimensions, found shape [3, 1]"));
  BOOST_CHECK_EXCEPTION(mse_loss(random_variable({3}), random_tensor({3}, 1, DType::float32), 1),
                        std::invalid_argument, says("mse_loss: expected operands of one dtype"));
  BOOST_CHECK_EXCEPTION(mse_loss(random_variable({3}), Tensor(), 1), std::invalid_argument,
                        says("mse_loss: operand 1 is undefined"));
}

BOOST_AUTO_TEST_CASE(losses_save_the_gradient_made_in_forward) {
  const Variable logits = random_variable({4, 3}), predictions = random_variable({4, 1});
  BOOST_TEST(saved_bytes(cross_entropy_loss(logits, indices({0, 1, 2, 0}), 1), {}) ==
             logits.tensor().nbytes());
  BOOST_TEST(saved_bytes(mse_loss(predictions, random_tensor({4}), 1), {}) == predictions.tensor().nbytes());
}

BOOST_AUTO_TEST_SUITE_END()
