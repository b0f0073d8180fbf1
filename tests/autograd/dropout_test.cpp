#include "autograd/dropout.h"

#include <cmath>

#include "autograd/multiply.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

OpCase dropout_case(std::string variant, const Tensor& input, const DropoutMask& mask) {
  const Tensor factors =
      mask.active() ? dropout_factors(mask, input.size(1)) : Tensor::full(input.shape(), 1.0, DType::float64);
  return {"dropout",
          std::move(variant),
          {input},
          [=](const auto& x) { return dropout(x[0], mask); },
          [=](const auto& x) { return multiply(x[0], Variable(factors)); },
          elementwise_tolerance};
}

const RegisterOpCases dropout_cases{
    dropout_case("a tenth", random_tensor({7, 13}), random_mask(7, 0.1)),
    dropout_case("nine tenths of a slice", random_slice({5, 8}), random_mask(5, 0.9)),
    dropout_case("one column", random_tensor({17, 1}), random_mask(17, 0.5)),
    dropout_case("one row", random_tensor({1, 35}), random_mask(1, 0.5)),
};

}  // namespace

BOOST_AUTO_TEST_SUITE(dropout)

using normtune::dropout;  // the suite hides it

BOOST_AUTO_TEST_CASE(an_inactive_mask_returns_the_same_variable) {
  const Variable input(random_tensor({3, 5}), /*requires_grad=*/true);
  const Variable output = dropout(input, DropoutMask{});
  BOOST_CHECK(output.meta() == input.meta());
  BOOST_CHECK(output.tensor().storage() == input.tensor().storage());
}

BOOST_AUTO_TEST_CASE(the_share_of_kept_elements_and_the_mean_are_right) {
  constexpr int64_t num_rows = 512, columns = 256;
  constexpr double probability = 0.3;
  const Variable ones(Tensor::full({num_rows, columns}, 1.0, DType::float32));
  double total = 0, dropped = 0;
  for (double value : values_of(dropout(ones, random_mask(num_rows, probability)).tensor())) {
    total += value;
    dropped += value == 0;
  }
  // Four standard deviations of a binomial share of 131,072 draws.
  const double share_deviation = std::sqrt(probability * (1 - probability) / (num_rows * columns));
  BOOST_CHECK_LE(std::abs(dropped / (num_rows * columns) - probability), 4 * share_deviation);
  BOOST_CHECK_LE(std::abs(total / (num_rows * columns) - 1), 4 * share_deviation / (1 - probability));
}

BOOST_AUTO_TEST_CASE(a_mask_depends_on_example_and_position_not_on_the_row) {
  DropoutMask mask = random_mask(4, 0.5);
  mask.example_ids = Tensor::from_values({4}, std::vector<int64_t>{8, 9, 8, 8});
  mask.positions = Tensor::from_values({4}, std::vector<int32_t>{3, 3, 3, 4});
  const Variable ones(Tensor::full({4, 64}, 1.0, DType::float64));
  const auto values = values_of(dropout(ones, mask).tensor());
  const auto row = [&](int i) {
    return std::vector<double>(values.begin() + i * 64, values.begin() + (i + 1) * 64);
  };
  BOOST_CHECK(row(0) == row(2));
  BOOST_CHECK(row(0) != row(1));
  BOOST_CHECK(row(0) != row(3));
}

BOOST_AUTO_TEST_CASE(masks_that_do_not_fit_are_refused) {
  const Variable input(random_tensor({3, 5}));
  DropoutMask mask = random_mask(3, 1.0);
  BOOST_CHECK_EXCEPTION(dropout(input, mask), std::invalid_argument,
                        says("dropout: expected a dropout probability in [0, 1), found 1"));
  BOOST_CHECK_EXCEPTION(dropout(input, random_mask(4, 0.5)), std::invalid_argument,
                        says("dropout: expected mask.example_ids of shape [3], found [4]"));
  mask = random_mask(3, 0.5);
  mask.positions = indices({0, 1});
  BOOST_CHECK_EXCEPTION(dropout(input, mask), std::invalid_argument,
                        says("dropout: expected mask.positions of shape [3], found [2]"));
  mask.positions = Tensor();
  BOOST_CHECK_EXCEPTION(dropout(input, mask), std::invalid_argument,
                        says("dropout: mask.positions is undefined"));
  mask = random_mask(3, 0.5);
  mask.example_ids = indices({1, 2, 3});
  BOOST_CHECK_EXCEPTION(dropout(input, mask), std::invalid_argument,
                        says("dropout: expected mask.example_ids of dtype int64, found int32"));
  BOOST_CHECK_EXCEPTION(dropout(Variable(random_tensor({3})), random_mask(3, 0.5)), std::invalid_argument,
                        says("dropout: expected input with 2 dimensions, found shape [3]"));
}

BOOST_AUTO_TEST_CASE(the_mask_is_not_stored) {
  const Variable input(random_tensor({4, 100}), /*requires_grad=*/true);
  const DropoutMask mask = random_mask(4, 0.5);
  BOOST_TEST(saved_bytes(dropout(input, mask), {}) == mask.example_ids.nbytes() + mask.positions.nbytes());
}

BOOST_AUTO_TEST_SUITE_END()
