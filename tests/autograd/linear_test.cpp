#include "autograd/linear.h"

#include "autograd/activation.h"
#include "autograd/activation_linear.h"
#include "autograd/add_bias.h"
#include "autograd/concat_columns.h"
#include "autograd/matmul.h"
#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

Variable composed_linear(const Variable& input, const Variable& weight, const Variable& bias) {
  const Variable product = matmul(input, weight, false, true);
  return bias.defined() ? add_bias(product, bias) : product;
}

OpCase linear_case(std::string variant, const Tensor& input, const Tensor& weight, const Tensor& bias) {
  return {"linear",
          std::move(variant),
          {input, weight, bias},
          [](const auto& x) { return linear(x[0], x[1], x[2]); },
          [](const auto& x) { return composed_linear(x[0], x[1], x[2]); }};
}

OpCase activation_linear_case(std::string variant, Activation kind, const Tensor& input,
                              int64_t out_features) {
  return {"activation_linear",
          std::move(variant),
          {input, random_tensor({out_features, input.size(1)}, 2), random_tensor({out_features}, 3)},
          [=](const auto& x) { return activation_linear(x[0], kind, x[1], x[2]); },
          [=](const auto& x) { return composed_linear(normtune::activation(x[0], kind), x[1], x[2]); }};
}

/// Inputs: input, three weights, three biases.
Variable grouped(const std::vector<Variable>& x) {
  return linear(x[0], {x[1], x[2], x[3]}, {x[4], x[5], x[6]});
}
Variable composed_grouped(const std::vector<Variable>& x) {
  return concat_columns({composed_linear(x[0], x[1], x[4]), composed_linear(x[0], x[2], x[5]),
                         composed_linear(x[0], x[3], x[6])});
}

/// Three weights [out, in_features] with different numbers of rows, as slices of one storage.
std::vector<Tensor> stacked_inputs(int64_t rows, int64_t in_features) {
  const Tensor weights = random_tensor({2 + 3 + 5 + 1, in_features}, 2);
  const Tensor biases = random_tensor({2 + 3 + 5}, 3);
  return {random_tensor({rows, in_features}),
          weights.slice(1, 3),
          weights.slice(3, 6),
          weights.slice(6, 11),
          biases.slice(0, 2),
          biases.slice(2, 5),
          biases.slice(5, 10)};
}

std::vector<Tensor> separate_inputs(int64_t rows, int64_t in_features) {
  std::vector<Tensor> inputs = stacked_inputs(rows, in_features);
  for (size_t i = 1; i < inputs.size(); ++i) inputs[i] = inputs[i].clone();
  return inputs;
}

const RegisterOpCases linear_cases{
    linear_case("wide", random_tensor({3, 5}), random_tensor({7, 5}, 2), random_tensor({7}, 3)),
    linear_case("tall, slices", random_slice({17, 2}), random_slice({3, 2}, 2), random_slice({3}, 3)),
    linear_case("one row", random_tensor({1, 5}), random_tensor({2, 5}, 2), random_tensor({2}, 3)),
    linear_case("one output", random_tensor({7, 3}), random_tensor({1, 3}, 2), random_tensor({1}, 3)),
    linear_case("one input", random_tensor({5, 1}), random_tensor({3, 1}, 2), random_tensor({3}, 3)),
    {"linear",
     "no bias",
     {random_tensor({5, 3}), random_tensor({7, 3}, 2)},
     [](const auto& x) { return linear(x[0], x[1], Variable()); },
     [](const auto& x) { return composed_linear(x[0], x[1], Variable()); }},
    {"linear", "three stacked weights", stacked_inputs(3, 2), grouped, composed_grouped},
    {"linear", "three separate weights", separate_inputs(3, 2), grouped, composed_grouped},
    {"linear",
     "two weights, one bias",
     {random_tensor({5, 3}), random_tensor({2, 3}, 2), random_tensor({7, 3}, 3), random_tensor({7}, 4)},
     [](const auto& x) {
       return linear(x[0], {x[1], x[2]}, {Variable(), x[3]});
     },
     [](const auto& x) {
       return concat_columns({composed_linear(x[0], x[1], Variable()), composed_linear(x[0], x[2], x[3])});
     }},
    {"linear",
     "one weight twice",
     {random_tensor({5, 3}), random_tensor({2, 3}, 2), random_tensor({2}, 3)},
     [](const auto& x) {
       return linear(x[0], {x[1], x[1]}, {x[2], x[2]});
     },
     [](const auto& x) {
       return concat_columns({composed_linear(x[0], x[1], x[2]), composed_linear(x[0], x[1], x[2])});
     }},
    activation_linear_case("relu", Activation::relu, random_tensor({5, 3}), 7),
    activation_linear_case("gelu, slice", Activation::gelu, random_slice({11, 7}), 3),
    activation_linear_case("gelu_tanh, one row", Activation::gelu_tanh, random_tensor({1, 5}), 2),
    activation_linear_case("tanh, one output", Activation::tanh, random_tensor({3, 2}), 1),
    activation_linear_case("silu", Activation::silu, random_tensor({2, 13}), 5),
    {"activation_linear",
     "no bias",
     {random_tensor({5, 3}), random_tensor({7, 3}, 2)},
     [](const auto& x) { return activation_linear(x[0], Activation::gelu, x[1], Variable()); },
     [](const auto& x) { return composed_linear(gelu(x[0]), x[1], Variable()); }},
};

}  // namespace

BOOST_AUTO_TEST_SUITE(linear)

using normtune::linear;  // the suite hides it

BOOST_AUTO_TEST_CASE(shapes_that_do_not_fit_are_refused) {
  BOOST_CHECK_EXCEPTION(linear(random_variable({2, 3}), random_variable({5, 4}), random_variable({5})),
                        std::invalid_argument, says("linear: expected weight of shape [5, 3], found [5, 4]"));
  BOOST_CHECK_EXCEPTION(linear(random_variable({2, 3}), random_variable({5, 3}), random_variable({3})),
                        std::invalid_argument, says("linear: expected bias of shape [5], found [3]"));
  BOOST_CHECK_EXCEPTION(linear(random_variable({3}), random_variable({5, 3}), random_variable({5})),
                        std::invalid_argument,
                        says("linear: expected input with 2 dimensions, found shape [3]"));
  BOOST_CHECK_EXCEPTION(linear(random_variable({2, 3}), random_variable({3}), Variable()),
                        std::invalid_argument,
                        says("linear: expected weight with 2 dimensions, found shape [3]"));
  BOOST_CHECK_EXCEPTION(
      linear(random_variable({2, 3}), Variable(random_tensor({5, 3}, 1, DType::float32)), Variable()),
      std::invalid_argument, says("linear: expected operands of one dtype"));
  BOOST_CHECK_EXCEPTION(linear(random_variable({2, 3}), Variable(), Variable()), std::invalid_argument,
                        says("linear: operand 1 is undefined"));
  BOOST_CHECK_EXCEPTION(
      linear(random_variable({2, 3}), {random_variable({5, 3})}, std::vector<Variable>{}),
      std::invalid_argument,
      says("linear: expected as many biases as weights (an absent one undefined), found 0 and 1"));
  BOOST_CHECK_EXCEPTION(linear(random_variable({2, 3}), std::vector<Variable>{}, std::vector<Variable>{}),
                        std::invalid_argument, says("linear: expected as many biases as weights"));
}

BOOST_AUTO_TEST_CASE(activation_linear_refuses_shapes_that_do_not_fit) {
  const auto apply = [](const Variable& input, const Variable& weight, const Variable& bias) {
    return activation_linear(input, Activation::gelu, weight, bias);
  };
  BOOST_CHECK_EXCEPTION(apply(random_variable({2, 3}), random_variable({5, 4}), random_variable({5})),
                        std::invalid_argument,
                        says("activation_linear: expected weight of shape [5, 3], found [5, 4]"));
  BOOST_CHECK_EXCEPTION(apply(random_variable({2, 3}), random_variable({5, 3}), random_variable({3})),
                        std::invalid_argument,
                        says("activation_linear: expected bias of shape [5], found [3]"));
  BOOST_CHECK_EXCEPTION(apply(random_variable({3}), random_variable({5, 3}), Variable()),
                        std::invalid_argument,
                        says("activation_linear: expected input with 2 dimensions, found shape [3]"));
  BOOST_CHECK_EXCEPTION(apply(random_variable({2, 3}), random_variable({3}), Variable()),
                        std::invalid_argument,
                        says("activation_linear: expected weight with 2 dimensions, found shape [3]"));
  BOOST_CHECK_EXCEPTION(apply(Variable(), random_variable({5, 3}), Variable()), std::invalid_argument,
                        says("activation_linear: operand 0 is undefined"));
}

BOOST_AUTO_TEST_CASE(a_frozen_weight_keeps_no_activation) {
  const Variable input = random_variable({4, 8}), frozen_input = Variable(random_tensor({4, 8}));
  const Variable weight = random_variable({2, 8}), frozen = Variable(random_tensor({2, 8}));
  const Variable bias = random_variable({2}), frozen_bias = Variable(random_tensor({2}));
  const size_t activation_bytes = input.tensor().nbytes(), weight_bytes = weight.tensor().nbytes();
  BOOST_TEST(saved_bytes(linear(input, frozen, bias), std::vector{frozen}) == 0u);
  BOOST_TEST(saved_bytes(linear(input, frozen, bias), {}) == weight_bytes);
  BOOST_TEST(saved_bytes(linear(input, frozen, frozen_bias), std::vector{frozen}) == 0u);
  BOOST_TEST(saved_bytes(linear(frozen_input, frozen, bias), {}) == 0u);
  BOOST_TEST(saved_bytes(linear(frozen_input, weight, frozen_bias), {}) == activation_bytes);
  BOOST_TEST(saved_bytes(linear(input, weight, bias), {}) == activation_bytes + weight_bytes);
}

BOOST_AUTO_TEST_CASE(grouped_weights_keep_the_input_if_one_is_trainable) {
  const Variable input = random_variable({4, 8}), weight = random_variable({2, 8}),
                 frozen = Variable(random_tensor({2, 8}));
  const std::vector<Variable> biases(2);
  BOOST_TEST(saved_bytes(linear(input, {frozen, frozen}, biases), std::vector{frozen}) == 0u);
  BOOST_TEST(saved_bytes(linear(input, {frozen, weight}, biases), std::vector{frozen, weight}) ==
             input.tensor().nbytes());
}

BOOST_AUTO_TEST_CASE(activation_linear_keeps_the_input_or_the_slopes_there) {
  const auto saved = [](const Variable& input, const Variable& weight, const Variable& bias) {
    return saved_bytes(activation_linear(input, Activation::gelu, weight, bias), std::vector{weight});
  };
  const Variable input = random_variable({4, 8}), frozen_input = Variable(random_tensor({4, 8}));
  const Variable weight = random_variable({2, 8}), frozen = Variable(random_tensor({2, 8})),
                 bias = random_variable({2});
  BOOST_TEST(saved(input, weight, bias) == input.tensor().nbytes());
  BOOST_TEST(saved(input, frozen, bias) == input.tensor().nbytes());
  BOOST_TEST(saved(frozen_input, weight, bias) == input.tensor().nbytes());
  BOOST_TEST(saved(frozen_input, frozen, bias) == 0u);
  BOOST_TEST(saved_bytes(activation_linear(frozen_input, Activation::gelu, weight, bias), {}) ==
             input.tensor().nbytes());
}

BOOST_AUTO_TEST_CASE(beside_products_in_bfloat16_a_slope_is_a_byte) {
  const auto float_variable = [](const Shape& shape, uint64_t seed) {
    return Variable(random_tensor(shape, seed).to(DType::float32), /*requires_grad=*/true);
  };
  Variable input = float_variable({4, 8}, 1), weight = float_variable({2, 8}, 2);
  weight.set_requires_grad(false);
  const auto layer = [&] { return activation_linear(input, Activation::gelu, weight, Variable()); };
  sum(layer()).backward();
  const std::vector<double> exact = values_of(input.grad());

  Backend& backend = input.backend();
  backend.set_product_precision(ProductPrecision::bf16);
  const Variable output = layer();
  backend.set_product_precision(ProductPrecision::float32);
  BOOST_TEST(saved_bytes(output, std::vector{weight}) == 4u * 8u);
  input.zero_grad();
  sum(output).backward();
  const double largest = 2.0 * 2;  // of dY W: two terms below 2
  BOOST_CHECK_LE(largest_error(values_of(input.grad()), exact), 0.002501 * largest + 1e-6);
  BOOST_CHECK(values_of(input.grad()) != exact);

  weight.set_requires_grad(true);
  BOOST_TEST(saved_bytes(layer(), std::vector{weight}) == input.tensor().nbytes());
}

BOOST_AUTO_TEST_CASE(activation_linear_writes_over_an_input_that_nobody_needs) {
  Allocator& allocator = backend_of(Device{}).allocator();
  const Tensor values = random_tensor({64, 256});
  for (const bool is_trained : {false, true}) {
    const Variable weight(random_tensor({1, 256}), is_trained);
    /// The most bytes at a time, beyond those before.
    const auto most_bytes = [&](Variable input, bool is_given_away) {
      const Variable other_handle = is_given_away ? Variable() : input;
      allocator.reset_peak();
      const size_t before = allocator.stats().in_use;
      activation_linear(std::move(input), Activation::gelu, weight, Variable());
      if (!is_given_away) BOOST_CHECK(values_of(other_handle.tensor()) == values_of(values));
      return allocator.stats().peak_in_use - before;
    };
    const size_t kept = most_bytes(Variable(values.clone()), false);
    const size_t given_away = most_bytes(Variable(values.clone()), true);
    BOOST_TEST(kept >= values.nbytes());
    if (is_trained) {
      BOOST_TEST(given_away == kept);
    } else {
      BOOST_TEST(given_away <= kept - values.nbytes());
    }
  }
}

BOOST_AUTO_TEST_CASE(each_weight_of_a_group_has_a_gradient_of_its_own) {
  const std::vector<Tensor> tensors = stacked_inputs(3, 2);
  std::vector<Variable> x;
  for (const Tensor& tensor : tensors) x.emplace_back(tensor, /*requires_grad=*/true);
  x[2].set_requires_grad(false);
  sum(grouped(x)).backward();
  BOOST_CHECK(!x[2].grad().defined());
  for (size_t i : {0, 1, 3, 4, 5, 6}) BOOST_CHECK(x[i].grad().is_unique());
}

BOOST_AUTO_TEST_CASE(stacked_and_separate_weights_give_the_same_bits) {
  std::vector<Variable> stacked, separate;
  for (const Tensor& tensor : stacked_inputs(5, 7)) stacked.emplace_back(tensor.to(DType::float64));
  for (const Tensor& tensor : separate_inputs(5, 7)) separate.emplace_back(tensor);
  BOOST_CHECK(values_of(grouped(stacked).tensor()) == values_of(grouped(separate).tensor()));
}

BOOST_AUTO_TEST_SUITE_END()
