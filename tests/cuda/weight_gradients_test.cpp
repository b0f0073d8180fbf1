#include <stdexcept>

#include "autograd/activation_linear.h"
#include "autograd/linear.h"
#include "autograd/multiply.h"
#include "autograd/scale.h"
#include "autograd/sum.h"
#include "tests/cuda/device_testing.h"

using namespace normtune;
using namespace normtune::test;

/// A device computes the gradients of weights beside what follows. The emulated one is as late with them as
/// allowed, and fills memory that is given back with NaN: a gradient that is read too early, or whose factors
/// are given back or overwritten too early, comes out wrong.
BOOST_AUTO_TEST_SUITE(weight_gradients)

namespace {

constexpr int64_t num_rows = 9, size = 8;

/// Leaves on a device, x [num_rows, size] before weights [size, size].
std::vector<Variable> make_leaves(Device device, size_t num_weights) {
  CaseRandom random(7);
  std::vector<Variable> leaves{Variable(random.floats({num_rows, size}).to(device), /*requires_grad=*/true)};
  while (leaves.size() <= num_weights) {
    leaves.emplace_back(random.floats({size, size}, 0.5).to(device), /*requires_grad=*/true);
  }
  return leaves;
}

using Leaves = const std::vector<Variable>&;
using Function = std::function<Variable(Leaves)>;

/// A loss whose derivatives with respect to `output` differ.
Variable loss_of(const Variable& output) {
  CaseRandom random(8);
  return sum(multiply(output, Variable(random.floats(output.shape()).to(output.device()))));
}

/// The gradients of all leaves after `num_batches` calls of backward().
std::vector<std::vector<float>> gradients_on(Device device, size_t num_weights, const Function& function,
                                             int num_batches = 1) {
  const std::vector<Variable> leaves = make_leaves(device, num_weights);
  for (int i = 0; i < num_batches; ++i) loss_of(function(leaves)).backward();
  std::vector<std::vector<float>> gradients;
  for (const Variable& leaf : leaves) gradients.push_back(leaf.grad().to_vector<float>());
  return gradients;
}

void check_gradients(size_t num_weights, const Function& function, int num_batches = 1) {
  if (!device_at_hand()) return;
  const auto expected = gradients_on({}, num_weights, function, num_batches);
  const auto found = gradients_on(cuda_device, num_weights, function, num_batches);
  for (size_t i = 0; i < expected.size(); ++i) {
    BOOST_TEST_CONTEXT("leaf " << i) BOOST_TEST(nmse(found[i], expected[i]) <= 1e-11);
  }
}

Variable chain(const Variable& input, std::span<const Variable> weights) {
  Variable output = input;
  for (const Variable& weight : weights) output = linear(output, weight, Variable());
  return output;
}

}  // namespace

/// More products than wait at a time, and batches that add to the gradients of those before.
BOOST_AUTO_TEST_CASE(of_a_chain_of_layers) {
  const auto layers = [](Leaves leaves) { return chain(leaves[0], std::span(leaves).subspan(1)); };
  check_gradients(8, layers);
  check_gradients(8, layers, 3);
}

/// Backward computes the activation again, and then needs a place for its gradient.
BOOST_AUTO_TEST_CASE(of_layers_with_an_activation) {
  check_gradients(5, [](Leaves leaves) {
    Variable output = leaves[0];
    for (const Variable& weight : std::span(leaves).subspan(1)) {
      output = activation_linear(output, Activation::gelu, weight, Variable());
    }
    return output;
  });
}

BOOST_AUTO_TEST_CASE(of_a_weight_that_is_used_twice) {
  check_gradients(2, [](Leaves leaves) { return chain(leaves[0], {{leaves[1], leaves[2], leaves[1]}}); });
}

/// A weight that is the result of an op: another node reads its gradient.
BOOST_AUTO_TEST_CASE(of_a_weight_with_a_history) {
  check_gradients(2, [](Leaves leaves) {
    return chain(leaves[0], {{leaves[1], scale(multiply(leaves[2], leaves[1]), 3)}});
  });
}

namespace {

class FailingBackward : public Node {
 public:
  std::string_view name() const override { return "failing"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }
  std::vector<Tensor> backward(Tensor) override { throw std::runtime_error("no gradient today"); }
};

/// The identity, whose backward throws.
Variable failing(const Variable& input) {
  return record(input.tensor().clone(), {input}, [] { return std::make_shared<FailingBackward>(); });
}

}  // namespace

/// What was computed before is there all the same.
BOOST_AUTO_TEST_CASE(before_a_backward_that_throws) {
  if (!device_at_hand()) return;
  const auto gradient_on = [](Device device) {
    const std::vector<Variable> leaves = make_leaves(device, 2);
    const Variable output = chain(failing(leaves[0]), std::span(leaves).subspan(1));
    BOOST_CHECK_THROW(loss_of(output).backward(), std::runtime_error);
    return leaves[1].grad().to_vector<float>();
  };
  BOOST_TEST(nmse(gradient_on(cuda_device), gradient_on({})) <= 1e-11);
}

/// Factors that are rounded for the product alone.
BOOST_AUTO_TEST_CASE(of_rounded_factors) {
  if (!device_at_hand()) return;
  const auto rounded_gradients_on = [](Device device) {
    Backend& backend = backend_of(device);
    backend.set_product_precision(ProductPrecision::bf16);
    const auto gradients =
        gradients_on(device, 6, [](Leaves leaves) { return chain(leaves[0], std::span(leaves).subspan(1)); });
    backend.set_product_precision(ProductPrecision::float32);
    return gradients;
  };
  const auto expected = rounded_gradients_on({}), found = rounded_gradients_on(cuda_device);
  for (size_t i = 0; i < expected.size(); ++i) {
    BOOST_TEST_CONTEXT("leaf " << i) BOOST_TEST(nmse(found[i], expected[i]) <= 1e-5);
  }
}

BOOST_AUTO_TEST_SUITE_END()
