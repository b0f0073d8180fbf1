#include "autograd/softmax.h"

#include <algorithm>
#include <cmath>

#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

OpCase softmax_case(std::string variant, const Tensor& input) {
  const int64_t columns = input.shape().back();
  return {"softmax",
          std::move(variant),
          {input},
          [](const auto& x) { return softmax(x[0]); },
          plain(input.shape(), [=](const auto& inputs, auto& output) {
            for (size_t row = 0; row < output.size(); row += columns) {
              double denominator = 0;
              for (int64_t j = 0; j < columns; ++j) denominator += std::exp(inputs[0][row + j]);
              for (int64_t j = 0; j < columns; ++j)
                output[row + j] = std::exp(inputs[0][row + j]) / denominator;
            }
          })};
}

const RegisterOpCases softmax_cases{
    softmax_case("rank 2", random_tensor({5, 7})), softmax_case("rank 3", random_tensor({2, 3, 11})),
    softmax_case("slice", random_slice({3, 19})),  softmax_case("one element a row", random_tensor({5, 1})),
    softmax_case("vector", random_tensor({13})),
};

}  // namespace

BOOST_AUTO_TEST_SUITE(softmax)

using normtune::softmax;  // the suite hides it

BOOST_AUTO_TEST_CASE(large_inputs_stay_finite) {
  for (DType dtype : {DType::float32, DType::float64}) {
    const std::vector<double> inputs{1e4, -1e4, 1e4, -1e4, -1e4, -1e4, 1e4, 0, -1e4};
    const Variable input(Tensor::from_values({3, 3}, inputs).to(dtype));
    const std::vector<double> expected{0.5, 0, 0.5, 1 / 3.0, 1 / 3.0, 1 / 3.0, 1, 0, 0};
    BOOST_CHECK_LE(largest_error(values_of(softmax(input).tensor()), expected), 1e-7);
  }
}

BOOST_AUTO_TEST_CASE(equal_inputs_share) {
  const Variable input(Tensor::full({2, 4}, 3.7, DType::float32));
  BOOST_CHECK(values_of(softmax(input).tensor()) == std::vector<double>(8, 0.25));
}

BOOST_AUTO_TEST_CASE(scalars_are_refused) {
  BOOST_CHECK_EXCEPTION(softmax(Variable(random_tensor({}))), std::invalid_argument,
                        says("softmax: expected an input with rows, found a scalar"));
  BOOST_CHECK_EXCEPTION(softmax(Variable(indices({1}))), std::invalid_argument,
                        says("softmax: expected a floating-point operand 0, found int32"));
}

BOOST_AUTO_TEST_CASE(only_the_output_is_saved) {
  const Variable input(random_tensor({4, 8}), /*requires_grad=*/true);
  const Variable output = softmax(input);
  BOOST_TEST(saved_bytes(output, {}) == output.tensor().nbytes());
  BOOST_TEST(saved_bytes(output, std::vector{output}) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
