#include <cmath>
#include <limits>
#include <numbers>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(elementwise_kernels)

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

double normal_distribution(double x) {
  return 0.5 * std::erfc(-x / std::numbers::sqrt2);
}

double normal_density(double x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

double gelu_tanh_inner(double x) {
  return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
}

double value(Activation activation, double x) {
  switch (activation) {
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::gelu:
      return x * normal_distribution(x);
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(gelu_tanh_inner(x)));
    case Activation::tanh:
      return std::tanh(x);
    case Activation::silu:
      return x * sigmoid(x);
  }
  return 0;
}

double derivative(Activation activation, double x) {
  switch (activation) {
    case Activation::relu:
      return x > 0 ? 1 : 0;
    case Activation::gelu:
      return normal_distribution(x) + x * normal_density(x);
    case Activation::gelu_tanh: {
      const double t = std::tanh(gelu_tanh_inner(x));
      const double inner_derivative = std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x);
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner_derivative;
    }
    case Activation::tanh:
      return 1 - std::tanh(x) * std::tanh(x);
    case Activation::silu:
      return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
  }
  return 0;
}

constexpr Activation all_activations[] = {Activation::relu, Activation::gelu, Activation::gelu_tanh,
                                          Activation::tanh, Activation::silu};

/// Applies `function` to each value of `inputs`.
template <typename Function>
std::vector<double> map(std::vector<double> inputs, const Function& function) {
  for (double& x : inputs) x = function(x);
  return inputs;
}

Tensor activated(Activation activation, const Tensor& input) {
  const Tensor output = Tensor::empty_like(input);
  cpu().activation_forward(activation, input, output);
  return output;
}

/// The derivative, through a gradient of ones.
Tensor differentiated(Activation activation, const Tensor& input) {
  const Tensor grad_input = Tensor::empty_like(input);
  const Tensor ones = Tensor::full(input.shape(), 1, input.dtype());
  cpu().activation_backward(
      {.activation = activation, .input = input, .grad_output = ones, .grad_input = grad_input});
  return grad_input;
}

}  // namespace

BOOST_AUTO_TEST_CASE(arithmetic) {
  for_each_setting([](DType dtype) {
    for (const int64_t size : {0, 1, 7, 16, 33, 50'021}) {  // the last one in several pieces
      const Tensor a = random_tensor({size}, dtype, 1), b = random_tensor({size}, dtype, 2);
      const std::vector<double> x = values_of(a), y = values_of(b);
      std::vector<double> sum, product, scaled, accumulated;
      for (size_t i = 0; i < x.size(); ++i) {
        sum.push_back(x[i] + y[i]);
        product.push_back(x[i] * y[i]);
        scaled.push_back(-0.3 * x[i]);
        accumulated.push_back(y[i] + 0.7 * x[i]);
      }
      const Tensor output = Tensor::empty_like(a);
      cpu().add(a, b, output);
      BOOST_CHECK(largest_error(values_of(output), sum) <= elementwise.of(dtype));
      cpu().multiply(a, b, output);
      BOOST_CHECK(largest_error(values_of(output), product) <= elementwise.of(dtype));
      const Tensor in_place = a.clone();
      cpu().scale(in_place, -0.3, in_place);
      BOOST_CHECK(largest_error(values_of(in_place), scaled) <= elementwise.of(dtype));
      cpu().scale_by(a, Tensor::full({}, -0.3, dtype), output);
      BOOST_CHECK(values_of(output) == values_of(in_place));
      const Tensor total = b.clone();
      cpu().add_scaled(a, 0.7, total.reshape({1, size}));
      BOOST_CHECK(largest_error(values_of(total), accumulated) <= elementwise.of(dtype));
    }
  });
}

BOOST_AUTO_TEST_CASE(add_scaled_and_add_bias_work_on_a_part_of_a_matrix) {
  for_each_setting([](DType dtype) {
    const Tensor x = random_tensor({37, 5}, dtype, 1), bias = random_tensor({5}, dtype, 2);
    const Tensor whole = Tensor::full({37, 9}, 4, dtype);
    const MatrixRef part = MatrixRef(whole).columns(3, 8);
    std::vector<double> expected;
    for (const double value : values_of(x)) expected.push_back(4 - 2 * value);
    cpu().add_scaled(x, -2, part);
    BOOST_CHECK(largest_error(values_of(part), expected) <= elementwise.of(dtype));
    const std::vector<double> added = values_of(bias);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += added[i % 5];
    cpu().add_bias(part, bias, part);
    BOOST_CHECK(largest_error(values_of(part), expected) <= elementwise.of(dtype));
    BOOST_TEST(values_of(MatrixRef(whole).columns(0, 3)) == std::vector<double>(3 * 37, 4));
    BOOST_TEST(values_of(MatrixRef(whole).columns(8, 9)) == std::vector<double>(37, 4));
  });
}

BOOST_AUTO_TEST_CASE(activations_and_their_derivatives) {
  for_each_setting([](DType dtype) {
    for (const double scale : {0.001, 1.0, 6.0, 30.0}) {
      const Tensor x = random_tensor({4999}, dtype, 3, scale);
      for (const Activation activation : all_activations) {
        BOOST_TEST_CONTEXT("activation " << static_cast<int>(activation) << ", |x| < " << scale) {
          const auto expected = map(values_of(x), [&](double v) { return value(activation, v); });
          BOOST_CHECK(largest_error(values_of(activated(activation, x)), expected) <= elementwise.of(dtype));
          const auto slope = map(values_of(x), [&](double v) { return derivative(activation, v); });
          BOOST_CHECK(largest_error(values_of(differentiated(activation, x)), slope) <=
                      elementwise.of(dtype));
        }
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(activation_backward_multiplies_and_works_in_place) {
  for_each_setting([](DType dtype) {
    const Tensor x = random_tensor({17, 59}, dtype, 4), grad = random_tensor({17, 59}, dtype, 5);
    std::vector<double> expected = values_of(grad);
    const std::vector<double> values = values_of(x);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] *= derivative(Activation::gelu, values[i]);
    cpu().activation_backward(
        {.activation = Activation::gelu, .input = x, .grad_output = grad, .grad_input = grad});
    BOOST_CHECK(largest_error(values_of(grad), expected) <= elementwise.of(dtype));
    const Tensor sums = Tensor::empty({59}, dtype), expected_sums = Tensor::empty_like(sums);
    const Tensor ones = Tensor::full(x.shape(), 1, dtype);
    cpu().activation_backward({.activation = Activation::gelu,
                               .input = x,
                               .grad_output = ones,
                               .grad_input = grad,
                               .column_sums = &sums});
    cpu().column_sums({.input = grad, .outputs = {expected_sums}});
    BOOST_TEST(equal_bits(sums, expected_sums));
  });
}

BOOST_AUTO_TEST_CASE(activation_backward_gives_the_activation_too) {
  for_each_setting([](DType dtype) {
    for (const int64_t size : {0, 1, 7, 33, 50'021}) {
      const Tensor x = random_tensor({size}, dtype, 4, 6), grad = random_tensor({size}, dtype, 5);
      for (const Activation activation : all_activations) {
        BOOST_TEST_CONTEXT("activation " << static_cast<int>(activation) << ", " << size << " elements") {
          const Tensor alone = Tensor::empty_like(x), output = Tensor::empty_like(x), both = grad.clone();
          cpu().activation_backward(
              {.activation = activation, .input = x, .grad_output = grad, .grad_input = alone});
          cpu().activation_backward({.activation = activation,
                                     .input = x,
                                     .grad_output = both,
                                     .grad_input = both,
                                     .output = &output});
          BOOST_CHECK(largest_error(values_of(output), values_of(activated(activation, x))) <=
                      elementwise.of(dtype));
          BOOST_CHECK(largest_error(values_of(both), values_of(alone)) <= elementwise.of(dtype));
          const Tensor over = x.clone(), again = Tensor::empty_like(x);
          cpu().activation_backward({.activation = activation,
                                     .input = over,
                                     .grad_output = grad,
                                     .grad_input = again,
                                     .output = &over});
          BOOST_TEST(equal_bits(over, output));
          BOOST_TEST(equal_bits(again, both));
        }
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(activation_with_derivative_gives_both) {
  for_each_setting([](DType dtype) {
    for (const int64_t size : {0, 1, 7, 33, 50'021}) {
      const Tensor x = random_tensor({size}, dtype, 4, 6);
      for (const Activation activation : all_activations) {
        BOOST_TEST_CONTEXT("activation " << static_cast<int>(activation) << ", " << size << " elements") {
          const Tensor output = Tensor::empty_like(x), slope = Tensor::empty_like(x), over = x.clone(),
                       slope_again = Tensor::empty_like(x);
          cpu().activation_with_derivative(activation, x, output, slope);
          BOOST_CHECK(largest_error(values_of(output), values_of(activated(activation, x))) <=
                      elementwise.of(dtype));
          BOOST_CHECK(largest_error(values_of(slope), values_of(differentiated(activation, x))) <=
                      elementwise.of(dtype));
          cpu().activation_with_derivative(activation, over, over, slope_again);
          BOOST_TEST(equal_bits(over, output));
          BOOST_TEST(equal_bits(slope_again, slope));
        }
      }
    }
  });
}

/// From one end of the derivatives' range to the other.
BOOST_AUTO_TEST_CASE(a_derivative_in_a_byte_is_within_half_a_step) {
  for_each_setting([](DType dtype) {
    for (const double scale : {0.001, 2.0, 6.0, 30.0}) {
      const Tensor x = random_tensor({4999}, dtype, 3, scale);
      for (const Activation activation : all_activations) {
        BOOST_TEST_CONTEXT("activation " << static_cast<int>(activation) << ", |x| < " << scale) {
          const Tensor output = Tensor::empty_like(x), bytes = Tensor::empty(x.shape(), DType::uint8),
                       grad = Tensor::full(x.shape(), 1, dtype);
          cpu().activation_with_derivative(activation, x, output, bytes);
          BOOST_CHECK(largest_error(values_of(output), values_of(activated(activation, x))) <=
                      elementwise.of(dtype));
          cpu().derivative_backward({.derivative = bytes, .grad_output = grad, .grad_input = grad});
          const auto slope = map(values_of(x), [&](double v) { return derivative(activation, v); });
          BOOST_CHECK(largest_error(values_of(grad), slope) <= 0.002501);
        }
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(slopes_of_zero_and_one_are_exact_in_a_byte) {
  for_each_setting([](DType dtype) {
    const Tensor x = Tensor::from_values<double>({4}, {-1e30, -100, 100, 1e30}).to(dtype);
    for (const Activation activation :
         {Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
      const Tensor output = Tensor::empty_like(x), bytes = Tensor::empty(x.shape(), DType::uint8),
                   grad = Tensor::full(x.shape(), -3, dtype);
      cpu().activation_with_derivative(activation, x, output, bytes);
      cpu().derivative_backward({.derivative = bytes, .grad_output = grad, .grad_input = grad});
      BOOST_TEST(values_of(grad) == (std::vector<double>{0, 0, -3, -3}));
    }
  });
}

/// No byte stands for NaN, which the activation itself keeps.
BOOST_AUTO_TEST_CASE(a_slope_that_is_nan_becomes_the_smallest) {
  for_each_setting([](DType dtype) {
    const Tensor x = Tensor::full({33}, NAN, dtype), output = Tensor::empty_like(x),
                 bytes = Tensor::empty(x.shape(), DType::uint8), grad = Tensor::full(x.shape(), 1, dtype);
    for (const Activation activation : {Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
      cpu().activation_with_derivative(activation, x, output, bytes);
      for (const double value : values_of(output)) BOOST_TEST(std::isnan(value));
      cpu().derivative_backward({.derivative = bytes, .grad_output = grad, .grad_input = output});
      BOOST_CHECK(largest_error(values_of(output), std::vector<double>(33, -27 * 0.005)) <= 1e-7);
    }
  });
}

BOOST_AUTO_TEST_CASE(derivative_backward_multiplies_and_sums_columns) {
  for_each_setting([](DType dtype) {
    const Tensor x = random_tensor({17, 59}, dtype, 4), output = Tensor::empty_like(x),
                 grad = random_tensor({17, 59}, dtype, 5), grad_input = Tensor::empty_like(x);
    const Tensor sums = Tensor::empty({59}, dtype), expected_sums = Tensor::empty_like(sums);
    for (const DType kept : {dtype, DType::uint8}) {
      const Tensor slope = Tensor::empty(x.shape(), kept);
      cpu().activation_with_derivative(Activation::gelu, x, output, slope);
      cpu().derivative_backward(
          {.derivative = slope, .grad_output = grad, .grad_input = grad_input, .column_sums = &sums});
      std::vector<double> expected = values_of(grad);
      const std::vector<double> values = values_of(x);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] *= derivative(Activation::gelu, values[i]);
      BOOST_CHECK(largest_error(values_of(grad_input), expected) <=
                  (kept == DType::uint8 ? 2 * 0.002501 : elementwise.of(dtype)));  // gradients are below 2
      cpu().column_sums({.input = grad_input, .outputs = {expected_sums}});
      BOOST_TEST(equal_bits(sums, expected_sums));
    }
  });
}

BOOST_AUTO_TEST_CASE(activations_keep_their_limits_at_large_arguments) {
  for_each_setting([](DType dtype) {
    const std::vector<double> huge{100, 1e3, 1e4, 1e10, 1e30};
    for (const Activation activation : all_activations) {
      BOOST_TEST_CONTEXT("activation " << static_cast<int>(activation)) {
        const bool saturates = activation == Activation::tanh;
        const Tensor right = Tensor::from_values<double>({5}, huge).to(dtype);
        const Tensor left =
            Tensor::from_values<double>({5}, map(huge, [](double x) { return -x; })).to(dtype);
        const std::vector<double> at_right = values_of(activated(activation, right));
        BOOST_TEST(at_right == (saturates ? std::vector<double>(5, 1) : values_of(right)));
        const std::vector<double> at_left = values_of(activated(activation, left));
        for (const double y : at_left) BOOST_CHECK(std::abs(y - (saturates ? -1 : 0)) <= 1e-15);
        const double slope = saturates ? 0 : 1;
        BOOST_TEST(values_of(differentiated(activation, right)) == std::vector<double>(5, slope));
        for (const double y : values_of(differentiated(activation, left))) BOOST_CHECK(std::abs(y) <= 1e-15);
      }
    }
  });
}

/// The left tail of GELU keeps its relative precision: x Phi(x) computed as x (1 + erf(x)) / 2 would be 0
/// there.
BOOST_AUTO_TEST_CASE(gelu_is_precise_in_its_left_tail) {
  for_each_setting([](DType dtype) {
    for (const double x : {-3.0, -5.0, -7.0, -9.0, -12.0}) {
      const double found = values_of(activated(Activation::gelu, Tensor::full({1}, x, dtype)))[0];
      const double expected = value(Activation::gelu, x);
      BOOST_CHECK(std::abs(found / expected - 1) <= (dtype == DType::float64 ? 1e-13 : 2e-5));
    }
  });
}

BOOST_AUTO_TEST_CASE(nan_comes_through) {
  for_each_setting([](DType dtype) {
    const Tensor x = Tensor::full({40}, std::nan(""), dtype);
    for (const Activation activation : all_activations) {
      for (const double y : values_of(activated(activation, x))) BOOST_TEST(std::isnan(y));
      if (activation == Activation::relu) continue;  // its derivative knows two values only
      for (const double y : values_of(differentiated(activation, x))) BOOST_TEST(std::isnan(y));
    }
  });
}

BOOST_AUTO_TEST_CASE(infinity_comes_through) {
  for_each_setting([](DType dtype) {
    const Tensor x = Tensor::full({40}, infinity, dtype);
    for (const Activation activation : {Activation::relu, Activation::gelu, Activation::silu}) {
      for (const double y : values_of(activated(activation, x))) BOOST_TEST(y == infinity);
    }
  });
}

BOOST_AUTO_TEST_SUITE_END()
