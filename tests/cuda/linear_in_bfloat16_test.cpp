#include <limits>

#include "autograd/activation_linear.h"
#include "autograd/add.h"
#include "autograd/convert.h"
#include "autograd/linear.h"
#include "autograd/multiply.h"
#include "autograd/scale.h"
#include "autograd/sum.h"
#include "autograd/weight_factors.h"
#include "tests/cuda/device_testing.h"

using namespace normtune;
using namespace normtune::test;

/// Linear layers whose activations are in bfloat16, beside weights in float32. Bits are compared with those
/// of products that round each factor anew.
BOOST_AUTO_TEST_SUITE(linear_in_bfloat16)

namespace {

constexpr int64_t num_rows = 9, in_features = 24, out_features = 8;

Tensor floats(const Shape& shape, uint64_t seed) {
  return CaseRandom(seed).floats(shape, 0.5).to(cuda_device);
}

Tensor activations(const Shape& shape, uint64_t seed) {
  return floats(shape, seed).to(DType::bfloat16);
}

Variable trainable(const Tensor& tensor) {
  return Variable(tensor, /*requires_grad=*/true);
}

/// A loss with the given gradient of `output`.
Variable loss_with(const Variable& output, const Tensor& grad_output) {
  return sum(multiply(convert(output, DType::float32), Variable(grad_output.to(DType::float32))));
}

/// Three adjacent weights, as of query, key and value, in one storage: [3 out_features, in_features].
struct AdjacentWeights {
  explicit AdjacentWeights(const Tensor& all, bool requires_grad = true) : all(all) {
    for (int64_t i = 0; i < 3; ++i) {
      parts.emplace_back(all.slice(i * out_features, (i + 1) * out_features), requires_grad);
    }
  }

  Tensor all;
  std::vector<Variable> parts;
};

Variable side_by_side(const Variable& input, const AdjacentWeights& weights) {
  return linear(input, weights.parts, std::vector<Variable>(weights.parts.size()));
}

/// What the layer's node keeps for backward, without the input.
std::vector<Tensor> saved_weights(const Variable& output) {
  std::vector<Tensor> saved;
  for (Tensor* tensor : output.meta()->grad_fn->saved_tensors()) saved.push_back(*tensor);
  saved.erase(saved.begin());
  return saved;
}

/// The most bytes that `function` has had at a time, beyond those that were there before.
template <typename Function>
size_t most_bytes_of(const Function& function) {
  Allocator& allocator = backend_of(cuda_device).allocator();
  allocator.reset_peak();
  const size_t before = allocator.stats().in_use;
  const auto kept = function();
  return allocator.stats().peak_in_use - before;
}

}  // namespace

/// The rounded copy of a step does not outlive the update of its weight.
BOOST_AUTO_TEST_CASE(two_updates_have_the_bits_of_products_that_round) {
  if (!device_at_hand()) return;
  Backend& backend = backend_of(cuda_device);
  const AdjacentWeights weights(floats({3 * out_features, in_features}, 1));
  for (uint64_t step = 0; step < 2; ++step) {
    const Variable input = trainable(activations({num_rows, in_features}, 10 + step));
    const Tensor grad_output = activations({num_rows, 3 * out_features}, 20 + step);
    const Variable output = side_by_side(input, weights);
    loss_with(output, grad_output).backward();

    const Tensor product = Tensor::empty_like(output.tensor()), grad = Tensor::empty_like(input.tensor());
    backend.matmul({.a = input.tensor(), .b = weights.all, .transpose_b = true, .c = product});
    backend.matmul({.a = grad_output, .b = weights.all, .c = grad});
    BOOST_TEST_CONTEXT("step " << step) {
      BOOST_CHECK(floats_of(output.tensor()) == floats_of(product));
      BOOST_CHECK(floats_of(input.grad()) == floats_of(grad));
    }
    for (Variable weight : weights.parts) {
      backend.add_scaled(weight.grad(), -0.1, weight.tensor());
      weight.zero_grad();
    }
  }
}

BOOST_AUTO_TEST_CASE(two_updates_behind_an_activation_have_these_bits_too) {
  if (!device_at_hand()) return;
  constexpr Activation gelu = Activation::gelu;
  Backend& backend = backend_of(cuda_device);
  Variable weight = trainable(floats({out_features, in_features}, 2));
  for (uint64_t step = 0; step < 2; ++step) {
    const Variable input = trainable(activations({num_rows, in_features}, 10 + step));
    const Tensor grad_output = activations({num_rows, out_features}, 20 + step);
    const Variable output = activation_linear(input, gelu, weight, Variable());
    loss_with(output, grad_output).backward();

    const Tensor activated = Tensor::empty_like(input.tensor()), grad = Tensor::empty_like(input.tensor());
    const Tensor product = Tensor::empty_like(output.tensor());
    backend.activation_forward(gelu, input.tensor(), activated);
    backend.matmul({.a = activated, .b = weight.tensor(), .transpose_b = true, .c = product});
    backend.matmul({.a = grad_output, .b = weight.tensor(), .c = grad});
    backend.activation_backward(
        {.activation = gelu, .input = input.tensor(), .grad_output = grad, .grad_input = grad});
    BOOST_TEST_CONTEXT("step " << step) {
      BOOST_CHECK(floats_of(output.tensor()) == floats_of(product));
      BOOST_CHECK(floats_of(input.grad()) == floats_of(grad));
    }
    backend.add_scaled(weight.grad(), -0.1, weight.tensor());
    weight.zero_grad();
  }
}

/// Changing the weights between forward and backward, which nobody may do, changes nothing.
BOOST_AUTO_TEST_CASE(backward_reads_what_forward_has_rounded) {
  if (!device_at_hand()) return;
  const auto input_gradient = [](bool change_weights) {
    const Variable input = trainable(activations({num_rows, in_features}, 3));
    const AdjacentWeights weights(floats({3 * out_features, in_features}, 1));
    const Variable weight = trainable(floats({in_features, in_features}, 2));
    const Variable output =
        side_by_side(activation_linear(input, Activation::gelu, weight, Variable()), weights);
    if (change_weights) {
      Tensor(weights.all).fill(std::numeric_limits<double>::quiet_NaN());
      Tensor(weight.tensor()).fill(std::numeric_limits<double>::quiet_NaN());
    }
    loss_with(output, activations(output.shape(), 4)).backward();
    return floats_of(input.grad());
  };
  BOOST_CHECK(input_gradient(true) == input_gradient(false));
}

/// One copy, which the product of forward reads as it is; backward makes no other.
BOOST_AUTO_TEST_CASE(adjacent_weights_are_rounded_together_and_once) {
  if (!device_at_hand()) return;
  constexpr int64_t many_features = 1024;  // so that the weights are large beside the activations
  const Variable input = trainable(activations({1, many_features}, 3));
  const AdjacentWeights weights(floats({3 * out_features, many_features}, 1));
  const size_t copy_bytes = weights.all.nbytes() / 2;
  const auto forward = [&] { return side_by_side(input, weights); };
  const size_t most_bytes = most_bytes_of(forward);
  BOOST_TEST(most_bytes >= copy_bytes);
  BOOST_TEST(most_bytes < copy_bytes + copy_bytes / 2);

  const Variable output = forward();
  const std::vector<Tensor> saved = saved_weights(output);
  BOOST_TEST(saved.size() == 3u);
  BOOST_CHECK(saved[0].dtype() == DType::bfloat16);
  BOOST_CHECK(Tensor::stacked(saved).defined());
}

BOOST_AUTO_TEST_CASE(copies_that_no_gradient_needs_are_not_kept) {
  if (!device_at_hand()) return;
  const Variable input(activations({num_rows, in_features}, 3));
  const Variable weight = trainable(floats({out_features, in_features}, 2));
  const size_t input_bytes = input.tensor().nbytes();
  BOOST_TEST(saved_bytes(linear(input, weight, Variable()), {}) == input_bytes);
  BOOST_TEST(saved_bytes(activation_linear(input, Activation::gelu, weight, Variable()), {}) == input_bytes);
}

/// Of an activation before a frozen weight the slopes are kept, a byte each.
BOOST_AUTO_TEST_CASE(slopes_are_kept_in_bytes) {
  if (!device_at_hand()) return;
  const Variable input = trainable(activations({num_rows, in_features}, 3));
  const Variable weight(floats({out_features, in_features}, 2));
  const Variable output = activation_linear(input, Activation::gelu, weight, Variable());
  BOOST_TEST(saved_bytes(output, std::vector{weight}) == static_cast<size_t>(num_rows * in_features));
}

/// What is frozen is multiplied by the copy that was left of it, without another one, in forward and
/// backward.
BOOST_AUTO_TEST_CASE(frozen_weights_are_not_rounded_again) {
  if (!device_at_hand()) return;
  Backend& backend = backend_of(cuda_device);
  backend.set_product_precision(ProductPrecision::bf16);
  constexpr int64_t many_features = 1024;
  const Variable input = trainable(activations({1, many_features}, 3));
  const AdjacentWeights weights(floats({3 * out_features, many_features}, 1), /*requires_grad=*/false);
  const Variable weight(floats({out_features, 3 * out_features}, 2));
  leave_rounded_weights(weights.parts);
  leave_rounded_weights({weight});
  const auto step = [&] {
    const Variable output =
        activation_linear(side_by_side(input, weights), Activation::gelu, weight, Variable());
    BOOST_TEST(saved_weights(output)[0].storage() == weight.rounded_copy().storage());
    loss_with(output, activations(output.shape(), 4)).backward();
    return output;
  };
  BOOST_TEST(most_bytes_of(step) < weights.all.nbytes() / 4);
  backend.set_product_precision(ProductPrecision::float32);
}

/// Beside activations in float32 a weight is multiplied as it is, on every device.
BOOST_AUTO_TEST_CASE(nothing_is_copied_in_float32) {
  if (!device_at_hand()) return;
  for (const Device device : {Device{}, cuda_device}) {
    const Variable input = trainable(floats({num_rows, in_features}, 3).to(device));
    const AdjacentWeights weights(floats({3 * out_features, in_features}, 1).to(device));
    for (const Tensor& saved : saved_weights(side_by_side(input, weights))) {
      BOOST_TEST(saved.storage() == weights.all.storage());
    }
    const Variable output = activation_linear(input, Activation::gelu, weights.parts[0], Variable());
    BOOST_TEST(saved_weights(output)[0].storage() == weights.all.storage());
  }
}

namespace {

/// X goes through a layer Y = X W^T, and beside it.
struct LayerAndResidual {
  Tensor input, weight, grad_output, grad_residual;

  /// terms: of the sums in dX = dY W.
  LayerAndResidual(DType dtype, int64_t terms, Device device)
      : input(floats({num_rows, in_features}, 1).to(dtype).to(device)),
        weight(floats({terms, in_features}, 2).to(device)),
        grad_output(floats({num_rows, terms}, 3).to(dtype).to(device)),
        grad_residual(floats({num_rows, in_features}, 4).to(dtype).to(device)) {}

  /// By backward(), which begins with what was recorded last.
  std::vector<float> gradient(bool residual_is_last) const {
    const Variable leaf = trainable(input), x = scale(leaf, 1);
    const Variable earlier_residual = scale(x, 1), output = linear(x, trainable(weight), Variable());
    const Variable residual = residual_is_last ? scale(x, 1) : earlier_residual;
    add(loss_with(output, grad_output), loss_with(residual, grad_residual)).backward();
    return floats_of(leaf.grad());
  }

  /// dY W, rounded.
  Tensor product() const {
    Tensor grad = Tensor::empty_like(input);
    grad.backend().matmul({.a = grad_output, .b = weight, .c = grad});
    return grad;
  }

  static std::vector<float> sum_of(const Tensor& a, const Tensor& b) {
    Tensor sum = Tensor::empty_like(a);
    sum.backend().add(a, b, sum);
    return floats_of(sum);
  }
};

}  // namespace

/// What the residual has found is there first: the product is added to it, and their sum rounded once.
BOOST_AUTO_TEST_CASE(the_input_gradient_is_added_in_the_product) {
  if (!device_at_hand()) return;
  const LayerAndResidual layer(DType::bfloat16, out_features, cuda_device);
  const Tensor sum = layer.grad_residual.clone();
  sum.backend().matmul({.a = layer.grad_output, .b = layer.weight, .c = sum, .accumulate = true});
  BOOST_CHECK(layer.gradient(/*residual_is_last=*/true) == floats_of(sum));
  BOOST_CHECK(floats_of(sum) != LayerAndResidual::sum_of(layer.product(), layer.grad_residual));
}

BOOST_AUTO_TEST_CASE(other_users_add_to_the_input_gradient_of_a_layer) {
  if (!device_at_hand()) return;
  const LayerAndResidual layer(DType::bfloat16, out_features, cuda_device);
  BOOST_CHECK(layer.gradient(/*residual_is_last=*/false) ==
              LayerAndResidual::sum_of(layer.product(), layer.grad_residual));
}

/// The residual's gradient is dY itself, which the product still reads.
BOOST_AUTO_TEST_CASE(a_gradient_that_others_use_is_not_added_to) {
  if (!device_at_hand()) return;
  const LayerAndResidual layer(DType::bfloat16, in_features, cuda_device);
  const Variable leaf = trainable(layer.input), x = scale(leaf, 1), weight = trainable(layer.weight);
  loss_with(add(linear(x, weight, Variable()), x), layer.grad_output).backward();
  BOOST_CHECK(floats_of(leaf.grad()) == LayerAndResidual::sum_of(layer.product(), layer.grad_output));
  const Tensor grad_weight = Tensor::empty_like(layer.weight);
  grad_weight.backend().matmul(
      {.a = layer.grad_output, .transpose_a = true, .b = layer.input, .c = grad_weight});
  BOOST_CHECK(floats_of(weight.grad()) == floats_of(grad_weight));
}

/// Weights that are not adjacent have a product each.
BOOST_AUTO_TEST_CASE(products_of_separate_weights_are_added_to_the_input_gradient) {
  if (!device_at_hand()) return;
  const LayerAndResidual layer(DType::bfloat16, 2 * out_features, cuda_device);
  const Variable leaf = trainable(layer.input), x = scale(leaf, 1);
  const std::vector<Variable> weights = {
      trainable(layer.weight.slice(0, out_features).clone()),
      trainable(layer.weight.slice(out_features, 2 * out_features).clone())};
  const Variable output = linear(x, weights, std::vector<Variable>(2)), residual = scale(x, 1);
  add(loss_with(output, layer.grad_output), loss_with(residual, layer.grad_residual)).backward();
  const Tensor sum = layer.grad_residual.clone();
  for (int64_t i = 0; i < 2; ++i) {
    const MatrixRef grad_columns =
        MatrixRef(layer.grad_output).columns(i * out_features, (i + 1) * out_features);
    sum.backend().matmul(
        {.a = grad_columns, .b = weights[static_cast<size_t>(i)].tensor(), .c = sum, .accumulate = true});
  }
  BOOST_CHECK(floats_of(leaf.grad()) == floats_of(sum));
}

/// More terms than the CPU adds in one block.
BOOST_AUTO_TEST_CASE(input_gradients_in_float32_are_added_by_themselves) {
  if (!device_at_hand()) return;
  for (const Device device : {Device{}, cuda_device}) {
    const LayerAndResidual layer(DType::float32, 400, device);
    for (const bool residual_is_last : {true, false}) {
      BOOST_CHECK(layer.gradient(residual_is_last) ==
                  LayerAndResidual::sum_of(layer.product(), layer.grad_residual));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
