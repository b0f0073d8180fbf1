#include "autograd/layer_norm.h"

#include <cmath>

#include "autograd/add.h"
#include "autograd/dropout.h"
#include "autograd/dropout_residual_layer_norm.h"
#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

constexpr double eps = 1e-12;

OpFunction plain_layer_norm(const Shape& shape, double eps) {
  const int64_t hidden_size = shape.back();
  return plain(shape, [=](const auto& inputs, auto& output) {
    for (size_t row = 0; row < output.size(); row += hidden_size) {
      const double* const x = inputs[0].data() + row;
      long double mean = 0, variance = 0;
      for (int64_t j = 0; j < hidden_size; ++j) mean += x[j];
      mean /= hidden_size;
      for (int64_t j = 0; j < hidden_size; ++j) variance += (x[j] - mean) * (x[j] - mean);
      variance /= hidden_size;
      for (int64_t j = 0; j < hidden_size; ++j) {
        output[row + j] =
            static_cast<double>((x[j] - mean) / std::sqrt(variance + eps)) * inputs[1][j] + inputs[2][j];
      }
    }
  });
}

OpCase layer_norm_case(std::string variant, const Tensor& input, double eps) {
  const int64_t hidden_size = input.shape().back();
  return {"layer_norm",
          std::move(variant),
          {input, random_tensor({hidden_size}, 2), random_tensor({hidden_size}, 3)},
          [=](const auto& x) { return layer_norm(x[0], x[1], x[2], eps); },
          plain_layer_norm(input.shape(), eps)};
}

OpCase fused_case(std::string variant, const Tensor& input, const DropoutMask& mask) {
  const int64_t hidden_size = input.size(1);
  return {
      "dropout_residual_layer_norm",
      std::move(variant),
      {input, random_slice(input.shape(), 4), random_tensor({hidden_size}, 2),
       random_slice({hidden_size}, 3)},
      [=](const auto& x) { return dropout_residual_layer_norm(x[0], x[1], x[2], x[3], eps, mask); },
      [=](const auto& x) { return layer_norm(add(normtune::dropout(x[0], mask), x[1]), x[2], x[3], eps); }};
}

const RegisterOpCases layer_norm_cases{
    layer_norm_case("rank 2", random_tensor({5, 7}), eps),
    layer_norm_case("rank 3", random_tensor({2, 3, 5}), 1e-5),
    layer_norm_case("slice, one row", random_slice({1, 19}), eps),
    layer_norm_case("vector", random_tensor({11}), eps),
    layer_norm_case("more rows than columns", random_tensor({37, 3}), 1e-5),
    layer_norm_case("rows longer than a vector block", random_tensor({3, 67}), eps),
    layer_norm_case("hidden size 1", random_tensor({3, 1}), 0.1),
    fused_case("no dropout", random_tensor({5, 7}), {}),
    fused_case("dropout", random_tensor({5, 7}), random_mask(5, 0.4)),
    fused_case("slice, one row", random_slice({1, 13}), random_mask(1, 0.1)),
    fused_case("more rows than columns", random_tensor({23, 3}), random_mask(23, 0.2)),
    {"dropout_residual_layer_norm",
     "input is its own residual",
     {random_tensor({3, 7}), random_tensor({7}, 2), random_tensor({7}, 3)},
     [](const auto& x) { return dropout_residual_layer_norm(x[0], x[0], x[1], x[2], eps, {}); },
     [](const auto& x) { return layer_norm(add(x[0], x[0]), x[1], x[2], eps); }},
};

Variable ones(int64_t n, DType dtype) {
  return Variable(Tensor::full({n}, 1.0, dtype));
}
Variable zeros(int64_t n, DType dtype) {
  return Variable(Tensor::zeros({n}, dtype));
}

/// Values around `offset`, exactly representable in float32.
Tensor with_offset(double offset) {
  std::vector<double> values(64);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = offset * (1 + static_cast<double>(i * 7 % 16) / 1024);
  return Tensor::from_values({1, 64}, values);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(layer_norm)

using normtune::layer_norm;  // the suite hides it

BOOST_AUTO_TEST_CASE(a_large_common_offset_does_no_harm) {
  for (double offset : {100.0, 1e4, 1048576.0}) {
    BOOST_TEST_CONTEXT("offset " << offset) {
      const Tensor input = with_offset(offset).to(DType::float32);
      const Variable found =
          layer_norm(Variable(input), ones(64, DType::float32), zeros(64, DType::float32), eps);
      const Variable expected = plain_layer_norm(
          {1, 64}, eps)({Variable(input), ones(64, DType::float64), zeros(64, DType::float64)});
      BOOST_CHECK_LE(largest_error(values_of(found.tensor()), values_of(expected.tensor())), 1e-6);
    }
  }
}

BOOST_AUTO_TEST_CASE(equal_values_give_the_bias) {
  for (DType dtype : {DType::float32, DType::float64}) {
    for (double value : {0.0, 1e4, 1e30, -3e-30}) {
      const Variable input(Tensor::full({2, 5}, value, dtype), /*requires_grad=*/true);
      const Variable output = layer_norm(input, ones(5, dtype), ones(5, dtype), eps);
      BOOST_CHECK(values_of(output.tensor()) == std::vector<double>(10, 1.0));
      sum(output).backward();
      for (double grad : values_of(input.grad())) BOOST_CHECK(std::isfinite(grad));
    }
  }
}

BOOST_AUTO_TEST_CASE(parameters_that_do_not_fit_are_refused) {
  BOOST_CHECK_EXCEPTION(layer_norm(random_variable({2, 3}), random_variable({2}), random_variable({3}), eps),
                        std::invalid_argument, says("layer_norm: expected weight of shape [3], found [2]"));
  BOOST_CHECK_EXCEPTION(layer_norm(random_variable({2, 3}), random_variable({3}), random_variable({2}), eps),
                        std::invalid_argument, says("layer_norm: expected bias of shape [3], found [2]"));
  BOOST_CHECK_EXCEPTION(layer_norm(random_variable({}), random_variable({1}), random_variable({1}), eps),
                        std::invalid_argument,
                        says("layer_norm: expected an input with rows, found shape []"));
  BOOST_CHECK_EXCEPTION(layer_norm(random_variable({2, 0}), random_variable({0}), random_variable({0}), eps),
                        std::invalid_argument,
                        says("layer_norm: expected an input with rows, found shape [2, 0]"));
  BOOST_CHECK_EXCEPTION(
      layer_norm(random_variable({2, 3}), ones(3, DType::float32), random_variable({3}), eps),
      std::invalid_argument, says("layer_norm: expected operands of one dtype"));
  BOOST_CHECK_EXCEPTION(layer_norm(random_variable({2, 3}), Variable(), random_variable({3}), eps),
                        std::invalid_argument, says("layer_norm: operand 1 is undefined"));
}

BOOST_AUTO_TEST_CASE(the_fused_op_refuses_what_does_not_fit) {
  const auto apply = [](const Variable& input, const Variable& residual, int64_t weight_size,
                        int64_t bias_size, const DropoutMask& mask) {
    dropout_residual_layer_norm(input, residual, random_variable({weight_size}), random_variable({bias_size}),
                                eps, mask);
  };
  const std::string op = "dropout_residual_layer_norm: ";
  BOOST_CHECK_EXCEPTION(apply(random_variable({2, 3}), random_variable({3, 3}), 3, 3, {}),
                        std::invalid_argument, says(op + "expected residual of shape [2, 3], found [3, 3]"));
  BOOST_CHECK_EXCEPTION(apply(random_variable({2, 3}), random_variable({2, 3}), 2, 3, {}),
                        std::invalid_argument, says(op + "expected weight of shape [3], found [2]"));
  BOOST_CHECK_EXCEPTION(apply(random_variable({2, 3}), random_variable({2, 3}), 3, 2, {}),
                        std::invalid_argument, says(op + "expected bias of shape [3], found [2]"));
  BOOST_CHECK_EXCEPTION(apply(random_variable({6}), random_variable({6}), 6, 6, {}), std::invalid_argument,
                        says(op + "expected input with 2 dimensions, found shape [6]"));
  BOOST_CHECK_EXCEPTION(apply(random_variable({2, 3}), random_variable({2, 3}), 3, 3, random_mask(3, 0.5)),
                        std::invalid_argument,
                        says(op + "expected mask.example_ids of shape [2], found [3]"));
  BOOST_CHECK_EXCEPTION(apply(random_variable({2, 3}), Variable(), 3, 3, {}), std::invalid_argument,
                        says(op + "operand 1 is undefined"));
}

BOOST_AUTO_TEST_CASE(only_normalized_rows_and_their_scale_are_saved) {
  const Variable input = random_variable({4, 8}), frozen = Variable(random_tensor({4, 8}));
  const Variable weight = random_variable({8}), frozen_weight = Variable(random_tensor({8})),
                 bias = random_variable({8});
  const size_t rows_and_scale = (4 * 8 + 4) * sizeof(double);
  const auto saved = [&](const Variable& x, const Variable& w, const Variable& b) {
    return saved_bytes(layer_norm(x, w, b, eps), std::vector{w});
  };
  BOOST_TEST(saved(input, weight, bias) == rows_and_scale);
  BOOST_TEST(saved(input, frozen_weight, bias) == rows_and_scale);
  BOOST_TEST(saved(frozen, weight, bias) == rows_and_scale);
  BOOST_TEST(saved(frozen, frozen_weight, bias) == 0u);
}

BOOST_AUTO_TEST_CASE(the_fused_op_saves_neither_input_nor_residual) {
  const Variable input = random_variable({4, 8}), residual = random_variable({4, 8}),
                 frozen = Variable(random_tensor({4, 8}));
  const Variable weight = random_variable({8}), frozen_weight = Variable(random_tensor({8})),
                 bias = random_variable({8});
  const DropoutMask mask = random_mask(4, 0.5);
  const size_t rows_and_scale = (4 * 8 + 4) * sizeof(double);
  const size_t mask_bytes = mask.example_ids.nbytes() + mask.positions.nbytes();
  const auto saved = [&](const Variable& x, const Variable& r, const Variable& w) {
    return saved_bytes(dropout_residual_layer_norm(x, r, w, bias, eps, mask), std::vector{w});
  };
  BOOST_TEST(saved(input, residual, weight) == rows_and_scale + mask_bytes);
  BOOST_TEST(saved(input, frozen, frozen_weight) == rows_and_scale + mask_bytes);
  BOOST_TEST(saved(frozen, residual, frozen_weight) == rows_and_scale);
  BOOST_TEST(saved(frozen, frozen, weight) == rows_and_scale);
  BOOST_TEST(saved(frozen, frozen, frozen_weight) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
