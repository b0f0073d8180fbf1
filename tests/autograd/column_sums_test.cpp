#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "autograd/activation_linear.h"
#include "autograd/add.h"
#include "autograd/dropout_residual_layer_norm.h"
#include "autograd/linear.h"
#include "autograd/multiply.h"
#include "autograd/scale.h"
#include "autograd/sum.h"

using namespace normtune;

/// The gradient of a bias is the sum of the rows of dY. Whoever writes dY may bring this sum along.
BOOST_AUTO_TEST_SUITE(column_sums)

namespace {

constexpr int64_t num_rows = 5, size = 3;

Variable leaf(const Shape& shape, double first) {
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(first + static_cast<double>(i));
  return Variable(Tensor::from_values(shape, values), /*requires_grad=*/true);
}

/// The identity, which brings wrong sums along: they show where they are taken.
class WrongSums : public Node {
 public:
  std::string_view name() const override { return "wrong_sums"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }
  std::vector<Tensor> backward(Tensor grad_output) override {
    were_taken = column_sums_are_taken(0);
    give_column_sums(0, Tensor::full({grad_output.size(1)}, 7, grad_output.dtype()));
    return {grad_output};
  }
  bool were_taken = false;
};

Variable with_wrong_sums(const Variable& input, const std::shared_ptr<WrongSums>& node) {
  return record(input.tensor().clone(), {input}, [&] { return node; });
}

/// A loss whose derivatives differ.
Variable loss_of(const Variable& output) {
  return sum(multiply(output, Variable(leaf(output.shape(), 40).tensor())));
}

using Layer = std::function<Variable(const Variable&, const Variable&, const Variable&)>;
const std::vector<Layer> layers = {
    [](const Variable& x, const Variable& weight, const Variable& bias) { return linear(x, weight, bias); },
    [](const Variable& x, const Variable& weight, const Variable& bias) {
      return activation_linear(x, Activation::gelu, weight, bias);
    }};

/// The gradient of the bias of a layer whose output goes to `rest`.
std::vector<double> bias_gradient(const Layer& layer, const std::function<Variable(const Variable&)>& rest,
                                  bool bias_is_trained = true) {
  const Variable bias(leaf({size}, 20).tensor(), bias_is_trained);
  loss_of(rest(layer(leaf({num_rows, size}, 0), leaf({size, size}, 10), bias))).backward();
  return bias_is_trained ? bias.grad().to_vector<double>() : std::vector<double>();
}

Variable normalized(const Variable& input) {
  return dropout_residual_layer_norm(input, leaf(input.shape(), 50), leaf({size}, 60), leaf({size}, 70), 1e-5,
                                     DropoutMask{});
}

/// Keeps the sums from where they would be taken.
Variable hidden(const Variable& input) {
  return scale(input, 1);
}

}  // namespace

BOOST_AUTO_TEST_CASE(are_the_gradient_of_a_bias) {
  for (const Layer& layer : layers) {
    const auto node = std::make_shared<WrongSums>();
    const auto found = bias_gradient(layer, [&](const Variable& y) { return with_wrong_sums(y, node); });
    BOOST_TEST(node->were_taken);
    BOOST_TEST(found == (std::vector<double>{7, 7, 7}));
  }
}

BOOST_AUTO_TEST_CASE(are_of_no_use_beside_another_part) {
  for (const Layer& layer : layers) {
    for (const bool first : {true, false}) {
      const auto rest = [&](const Variable& y) {
        const auto node = std::make_shared<WrongSums>();
        if (first) {
          const Variable other = scale(y, 2);
          return add(with_wrong_sums(y, node), other);
        }
        const Variable with_sums = with_wrong_sums(y, node);
        return add(with_sums, scale(y, 2));
      };
      const auto expected = bias_gradient(layer, [](const Variable& y) { return scale(y, 3); });
      const auto found = bias_gradient(layer, rest);
      for (size_t i = 0; i < expected.size(); ++i) BOOST_TEST(std::abs(found[i] - expected[i]) <= 1e-14);
    }
  }
}

BOOST_AUTO_TEST_CASE(are_not_asked_for_without_a_trained_bias) {
  for (const Layer& layer : layers) {
    const auto node = std::make_shared<WrongSums>();
    bias_gradient(
        layer, [&](const Variable& y) { return with_wrong_sums(y, node); },
        /*bias_is_trained=*/false);
    BOOST_TEST(!node->were_taken);
  }
}

BOOST_AUTO_TEST_CASE(come_from_layer_norms_and_activations) {
  const auto activated = [](const Variable& y) {
    return activation_linear(y, Activation::gelu, leaf({size, size}, 80), leaf({size}, 90));
  };
  for (const Layer& layer : layers) {
    BOOST_TEST(bias_gradient(layer, normalized) ==
               bias_gradient(layer, [](const Variable& y) { return normalized(hidden(y)); }));
    BOOST_TEST(bias_gradient(layer, activated) ==
               bias_gradient(layer, [&](const Variable& y) { return activated(hidden(y)); }));
  }
}

BOOST_AUTO_TEST_SUITE_END()
