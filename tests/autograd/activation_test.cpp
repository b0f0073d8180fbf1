#include "autograd/activation.h"

#include <cmath>
#include <numbers>

#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

// The functions, written out.
double plain_relu(double x) {
  return x > 0 ? x : 0;
}
double plain_gelu(double x) {
  return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
}
double plain_gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}
double plain_tanh(double x) {
  return std::tanh(x);
}
double plain_silu(double x) {
  return x / (1 + std::exp(-x));
}

OpFunction each(const Shape& shape, double (*function)(double)) {
  return plain(shape, [=](const auto& inputs, auto& output) {
    for (size_t i = 0; i < output.size(); ++i) output[i] = function(inputs[0][i]);
  });
}

OpCase activation_case(std::string op, Variable (*function)(const Variable&),
                       double (*plain_function)(double)) {
  return {std::move(op),
          "matrix",
          {random_slice({7, 5})},
          [=](const auto& x) { return function(x[0]); },
          each({7, 5}, plain_function),
          elementwise_tolerance};
}

OpCase kind_case(std::string variant, Activation kind, double (*plain_function)(double)) {
  return {"activation",
          std::move(variant),
          {random_tensor({1, 37}, 3)},
          [=](const auto& x) { return activation(x[0], kind); },
          each({1, 37}, plain_function),
          elementwise_tolerance};
}

const RegisterOpCases activation_cases{
    activation_case("relu", relu, plain_relu),
    activation_case("gelu", gelu, plain_gelu),
    activation_case("gelu_tanh", gelu_tanh, plain_gelu_tanh),
    activation_case("tanh", normtune::tanh, plain_tanh),
    activation_case("silu", silu, plain_silu),
    kind_case("relu", Activation::relu, plain_relu),
    kind_case("gelu", Activation::gelu, plain_gelu),
    kind_case("gelu_tanh", Activation::gelu_tanh, plain_gelu_tanh),
    kind_case("tanh", Activation::tanh, plain_tanh),
    kind_case("silu", Activation::silu, plain_silu),
};

struct Named {
  const char* name;
  Activation kind;
  double (*function)(double);
  double (*derivative)(double);
};

double normal_density(double x) {
  return std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
}

/// Central difference of a function that has no cancellation at x.
template <double (*function)(double)>
double slope(double x) {
  constexpr double h = 1e-4;
  return (function(x + h) - function(x - h)) / (2 * h);
}

const Named all[] = {
    {"relu", Activation::relu, plain_relu, [](double x) { return x > 0 ? 1.0 : 0.0; }},
    {"gelu", Activation::gelu, plain_gelu,
     [](double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2) + x * normal_density(x); }},
    {"gelu_tanh", Activation::gelu_tanh, plain_gelu_tanh, slope<plain_gelu_tanh>},
    {"tanh", Activation::tanh, plain_tanh, [](double x) { return 1 / (std::cosh(x) * std::cosh(x)); }},
    {"silu", Activation::silu, plain_silu, slope<plain_silu>},
};

}  // namespace

BOOST_AUTO_TEST_SUITE(activation)

using normtune::activation;  // the suite hides it

BOOST_AUTO_TEST_CASE(values_and_derivatives_hold_in_the_tails) {
  const std::vector<double> points{-1e4, -100, -38, -20, -9, -6, -3, -1, -1e-3, -1e-8, 0,
                                   1e-8, 1e-3, 1,   3,   6,  9,  20, 38, 100,   1e4};
  const auto count = static_cast<int64_t>(points.size());
  for (const Named& f : all) {
    for (DType dtype : {DType::float32, DType::float64}) {
      BOOST_TEST_CONTEXT(f.name << " in " << to_string(dtype)) {
        const Variable input(Tensor::from_values({count}, points).to(dtype), /*requires_grad=*/true);
        const Variable output = activation(input, f.kind);
        sum(output).backward();
        std::vector<double> expected, derivatives;
        for (double x : values_of(input.tensor())) {
          expected.push_back(f.function(x));
          derivatives.push_back(f.derivative(x));
        }
        BOOST_CHECK_LE(
            largest_error(values_of(output.tensor()), expected),
            dtype == DType::float32 ? elementwise_tolerance.float32 : elementwise_tolerance.float64);
        BOOST_CHECK_LE(largest_error(values_of(input.grad()), derivatives), 1e-6);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(relu_has_derivative_zero_at_zero) {
  const Variable input(Tensor::zeros({1}, DType::float64), /*requires_grad=*/true);
  relu(input).backward();
  BOOST_TEST(input.grad().item() == 0);
}

BOOST_AUTO_TEST_CASE(integers_are_refused) {
  BOOST_CHECK_EXCEPTION(activation(Variable(indices({1})), Activation::gelu), std::invalid_argument,
                        says("activation: expected a floating-point operand 0, found int32"));
  BOOST_CHECK_EXCEPTION(gelu(Variable()), std::invalid_argument, says("activation: operand 0 is undefined"));
}

BOOST_AUTO_TEST_CASE(only_the_input_is_saved) {
  const Variable input(random_tensor({4, 8}), /*requires_grad=*/true);
  BOOST_TEST(saved_bytes(gelu(input), {}) == input.tensor().nbytes());
  BOOST_TEST(saved_bytes(gelu(input), std::vector{input}) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
