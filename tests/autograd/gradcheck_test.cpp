#include "autograd/gradcheck.h"

#include <cmath>

#include "autograd/add.h"
#include "autograd/multiply.h"
#include "autograd/scale.h"
#include "autograd/softmax.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

/// add with a gradient as wrong as a test asks for: a factor, an absent gradient for one input, a shape.
class WrongBackward : public Node {
 public:
  std::string_view name() const override { return "wrong"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }
  std::vector<Tensor> backward(Tensor grad_output) override {
    std::vector<Tensor> grads{grad_output, grad_output};
    if (wrong_when_alone && !needs_input_grad(1)) grads[0] = scaled(grad_output, 1.5);
    if (!wrong_when_alone) grads[1] = scaled(grad_output, factor);
    if (wrong_shape) grads[1] = grads[1].reshape({grads[1].numel()});
    return grads;
  }

  double factor = 1;
  bool wrong_when_alone = false, wrong_shape = false;

 private:
  static Tensor scaled(const Tensor& input, double factor) {
    Tensor output = Tensor::empty_like(input);
    input.backend().scale(input, factor, output);
    return output;
  }
};

Variable wrong_add(const std::vector<Variable>& x, const std::function<void(WrongBackward&)>& set_fault) {
  const Variable correct = add(x[0].detach(), x[1].detach());
  return record(correct.tensor(), {x[0], x[1]}, [&] {
    auto node = std::make_shared<WrongBackward>();
    set_fault(*node);
    return node;
  });
}

std::string message_of(const OpFunction& function) {
  const GradcheckResult result = gradcheck(function, {random_tensor({2, 3}), random_tensor({2, 3}, 2)});
  BOOST_TEST(result.passed == result.message.empty());
  return result.message;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(gradcheck)

using normtune::gradcheck;  // the suite hides it

BOOST_AUTO_TEST_CASE(correct_gradients_pass) {
  BOOST_TEST(message_of([](const auto& x) { return add(multiply(x[0], x[1]), softmax(x[1])); }) == "");
  BOOST_TEST(message_of([](const auto& x) { return wrong_add(x, [](WrongBackward&) {}); }) == "");
}

BOOST_AUTO_TEST_CASE(a_wrong_factor_is_found) {
  for (double factor : {-1.0, 0.0, 1.01, std::nan("")}) {
    const std::string message = message_of(
        [=](const auto& x) { return wrong_add(x, [=](WrongBackward& node) { node.factor = factor; }); });
    BOOST_TEST(contains(message, "input 1, element 0: expected the gradient"), message);
  }
}

BOOST_AUTO_TEST_CASE(a_gradient_that_changes_when_another_input_is_frozen_is_found) {
  const std::string message = message_of(
      [](const auto& x) { return wrong_add(x, [](WrongBackward& node) { node.wrong_when_alone = true; }); });
  BOOST_TEST(contains(message, "subset 1, input 0, element 0: expected the gradient"), message);
}

BOOST_AUTO_TEST_CASE(a_gradient_of_another_shape_is_found) {
  const std::string message = message_of(
      [](const auto& x) { return wrong_add(x, [](WrongBackward& node) { node.wrong_shape = true; }); });
  BOOST_TEST(contains(message, "input 1: expected a gradient of shape [2, 3], found [6]"), message);
}

BOOST_AUTO_TEST_CASE(a_missing_gradient_is_found) {
  const std::string message = message_of([](const auto& x) { return add(x[0], x[1].detach()); });
  BOOST_TEST(contains(message, "expected a gradient for input 1"), message);
}

BOOST_AUTO_TEST_CASE(an_op_that_records_frozen_inputs_is_found) {
  const Variable hidden(random_tensor({2, 3}), /*requires_grad=*/true);
  const std::string message = message_of([&](const auto& x) { return add(add(x[0], x[1]), hidden); });
  BOOST_TEST(contains(message, "no input requires a gradient, but the output does"), message);
}

BOOST_AUTO_TEST_CASE(an_op_that_changes_its_input_is_found) {
  const std::string message = message_of([](const auto& x) {
    x[1].backend().scale(x[1].tensor(), 2, x[1].tensor());
    return add(x[0], x[1]);
  });
  BOOST_TEST(contains(message, "input 1 was changed"), message);
}

BOOST_AUTO_TEST_CASE(inputs_that_cannot_be_checked_are_refused) {
  const auto function = [](const std::vector<Variable>& x) { return scale(x[0], 2); };
  BOOST_CHECK_EXCEPTION(gradcheck(function, {}), std::invalid_argument,
                        says("gradcheck: expected at least one input, found none"));
  BOOST_CHECK_EXCEPTION(gradcheck(function, {random_tensor({2}, 1, DType::float32)}), std::invalid_argument,
                        says("gradcheck: expected float64 inputs, found float32"));
  BOOST_CHECK_EXCEPTION(gradcheck(function, {Tensor()}), std::invalid_argument,
                        says("gradcheck: expected float64 inputs, found an undefined one"));
}

BOOST_AUTO_TEST_SUITE_END()
