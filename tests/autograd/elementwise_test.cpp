#include "op_cases.h"

#include <numeric>

#include "autograd/add.h"
#include "autograd/add_bias.h"
#include "autograd/convert.h"
#include "autograd/multiply.h"
#include "autograd/scale.h"
#include "autograd/sum.h"

using namespace normtune;
using namespace normtune::test;

namespace {

OpFunction plain_add(const Shape& shape) {
  return plain(shape, [](const auto& inputs, auto& output) {
    for (size_t i = 0; i < output.size(); ++i) output[i] = inputs[0][i] + inputs[1][i];
  });
}

OpFunction plain_multiply(const Shape& shape) {
  return plain(shape, [](const auto& inputs, auto& output) {
    for (size_t i = 0; i < output.size(); ++i) output[i] = inputs[0][i] * inputs[1][i];
  });
}

OpFunction plain_scale(const Shape& shape, double factor) {
  return plain(shape, [=](const auto& inputs, auto& output) {
    for (size_t i = 0; i < output.size(); ++i) output[i] = factor * inputs[0][i];
  });
}

OpFunction plain_sum(double factor) {
  return plain({}, [=](const auto& inputs, auto& output) {
    output[0] = factor * std::accumulate(inputs[0].begin(), inputs[0].end(), 0.0);
  });
}

OpFunction plain_add_bias(const Shape& shape) {
  return plain(shape, [](const auto& inputs, auto& output) {
    for (size_t i = 0; i < output.size(); ++i) output[i] = inputs[0][i] + inputs[1][i % inputs[1].size()];
  });
}

Variable apply_add(const std::vector<Variable>& x) {
  return add(x[0], x[1]);
}
Variable apply_multiply(const std::vector<Variable>& x) {
  return multiply(x[0], x[1]);
}
Variable apply_scale(const std::vector<Variable>& x) {
  return scale(x[0], -2.5);
}
Variable apply_sum(const std::vector<Variable>& x) {
  return sum(x[0]);
}
Variable apply_mean(const std::vector<Variable>& x) {
  return mean(x[0]);
}
Variable apply_add_bias(const std::vector<Variable>& x) {
  return add_bias(x[0], x[1]);
}

/// There and back, whatever the dtype.
Variable apply_convert(const std::vector<Variable>& x) {
  const DType dtype = x[0].dtype();
  return convert(convert(x[0], dtype == DType::float32 ? DType::float64 : DType::float32), dtype);
}

/// Exact in float32, and so small that central differences survive the rounding of what stands between.
Tensor small_float32s(const Shape& shape) {
  const Tensor values = random_tensor(shape);
  values.backend().scale(values, 0.004, values);
  return values.to(DType::float32).to(DType::float64);
}

const RegisterOpCases elementwise_cases{
    {"convert",
     "rank 2",
     {small_float32s({5, 7})},
     apply_convert,
     plain_scale({5, 7}, 1),
     elementwise_tolerance},
    {"add",
     "rank 3",
     {random_tensor({3, 5, 7}), random_tensor({3, 5, 7}, 2)},
     apply_add,
     plain_add({3, 5, 7}),
     elementwise_tolerance},
    {"add",
     "scalars",
     {random_tensor({}), random_tensor({}, 2)},
     apply_add,
     plain_add({}),
     elementwise_tolerance},
    {"add",
     "slice",
     {random_slice({7, 3}), random_tensor({7, 3}, 2)},
     apply_add,
     plain_add({7, 3}),
     elementwise_tolerance},
    {"add",
     "one variable twice",
     {random_tensor({5})},
     [](const auto& x) { return add(x[0], x[0]); },
     plain_scale({5}, 2),
     elementwise_tolerance},
    {"multiply",
     "rank 2",
     {random_tensor({11, 3}), random_tensor({11, 3}, 2)},
     apply_multiply,
     plain_multiply({11, 3}),
     elementwise_tolerance},
    {"multiply",
     "size 1",
     {random_tensor({1, 1}), random_tensor({1, 1}, 2)},
     apply_multiply,
     plain_multiply({1, 1}),
     elementwise_tolerance},
    {"multiply",
     "slice",
     {random_tensor({2, 13}), random_slice({2, 13}, 2)},
     apply_multiply,
     plain_multiply({2, 13}),
     elementwise_tolerance},
    {"multiply",
     "one variable twice",
     {random_tensor({5})},
     [](const auto& x) { return multiply(x[0], x[0]); },
     plain({5},
           [](const auto& inputs, auto& output) {
             for (size_t i = 0; i < 5; ++i) output[i] = inputs[0][i] * inputs[0][i];
           }),
     elementwise_tolerance},
    {"scale",
     "rank 2",
     {random_tensor({3, 7})},
     apply_scale,
     plain_scale({3, 7}, -2.5),
     elementwise_tolerance},
    {"scale", "slice", {random_slice({3, 7})}, apply_scale, plain_scale({3, 7}, -2.5), elementwise_tolerance},
    {"sum", "rank 3", {random_tensor({3, 5, 7})}, apply_sum, plain_sum(1)},
    {"sum", "one element", {random_tensor({1})}, apply_sum, plain_sum(1)},
    {"sum", "slice", {random_slice({17, 2})}, apply_sum, plain_sum(1)},
    {"mean", "rank 2", {random_tensor({5, 7})}, apply_mean, plain_sum(1.0 / 35)},
    {"mean", "scalar", {random_tensor({})}, apply_mean, plain_sum(1)},
    {"add_bias",
     "rank 2",
     {random_tensor({5, 7}), random_tensor({7}, 2)},
     apply_add_bias,
     plain_add_bias({5, 7}),
     elementwise_tolerance},
    {"add_bias",
     "more columns than rows",
     {random_slice({2, 19}), random_tensor({19}, 2)},
     apply_add_bias,
     plain_add_bias({2, 19}),
     elementwise_tolerance},
    {"add_bias",
     "rank 3",
     {random_tensor({2, 3, 5}), random_slice({5}, 2)},
     apply_add_bias,
     plain_add_bias({2, 3, 5}),
     elementwise_tolerance},
    {"add_bias",
     "one column",
     {random_tensor({7, 1}), random_tensor({1}, 2)},
     apply_add_bias,
     plain_add_bias({7, 1}),
     elementwise_tolerance},
};

}  // namespace

BOOST_AUTO_TEST_SUITE(elementwise)

BOOST_AUTO_TEST_CASE(operands_that_do_not_agree_are_refused) {
  const Variable ids(indices({1, 2, 3}));
  for (const auto& [name, op] : {std::pair<std::string, OpFunction>{"add", apply_add},
                                 std::pair<std::string, OpFunction>{"multiply", apply_multiply}}) {
    BOOST_CHECK_EXCEPTION(op({random_variable({2, 3}), random_variable({3, 2})}), std::invalid_argument,
                          says(name + ": expected b of shape [2, 3], found [3, 2]"));
    BOOST_CHECK_EXCEPTION(
        op({random_variable({3}), random_variable({3}, 1, DType::float32)}), std::invalid_argument,
        says(name +
             ": expected operands of one dtype, found float64 for operand 0 and float32 for operand 1"));
    BOOST_CHECK_EXCEPTION(op({ids, ids}), std::invalid_argument,
                          says(name + ": expected a floating-point operand 0, found int32"));
    BOOST_CHECK_EXCEPTION(op({random_variable({3}), Variable()}), std::invalid_argument,
                          says(name + ": operand 1 is undefined"));
  }
}

BOOST_AUTO_TEST_CASE(operands_that_cannot_be_summed_are_refused) {
  BOOST_CHECK_EXCEPTION(scale(Variable(), 2), std::invalid_argument, says("scale: operand 0 is undefined"));
  BOOST_CHECK_EXCEPTION(sum(Variable(indices({1}))), std::invalid_argument,
                        says("sum: expected a floating-point operand 0, found int32"));
  BOOST_CHECK_EXCEPTION(mean(Variable()), std::invalid_argument, says("mean: operand 0 is undefined"));
  BOOST_CHECK_EXCEPTION(mean(random_variable({0, 3})), std::invalid_argument,
                        says("mean: expected at least one element, found shape [0, 3]"));
}

BOOST_AUTO_TEST_CASE(a_bias_that_does_not_fit_is_refused) {
  BOOST_CHECK_EXCEPTION(add_bias(random_variable({2, 3}), random_variable({2})), std::invalid_argument,
                        says("add_bias: expected bias of shape [3], found [2]"));
  BOOST_CHECK_EXCEPTION(add_bias(random_variable({}), random_variable({1})), std::invalid_argument,
                        says("add_bias: expected an input with rows, found a scalar"));
  BOOST_CHECK_EXCEPTION(add_bias(random_variable({2, 3}), random_variable({3}, 1, DType::float32)),
                        std::invalid_argument, says("add_bias: expected operands of one dtype"));
}

BOOST_AUTO_TEST_CASE(a_product_saves_only_the_other_factor) {
  const Variable a = random_variable({8}), frozen(random_tensor({8}));
  BOOST_TEST(saved_bytes(multiply(a, frozen), {}) == 64u);
  BOOST_TEST(saved_bytes(multiply(a, frozen), std::vector{frozen}) == 0u);
  BOOST_TEST(saved_bytes(multiply(a, a), {}) == 64u);
  BOOST_TEST(saved_bytes(add(a, frozen), {}) == 0u);
  BOOST_TEST(saved_bytes(scale(a, 3), {}) == 0u);
  BOOST_TEST(saved_bytes(mean(a), {}) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
