#include "autograd/softmax.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// With p = softmax(x):  dp_i / dx_j = p_i (delta_ij - p_j),  hence per row
///   grad_input = p * (grad_output - sum(grad_output * p)).
class SoftmaxBackward : public Node {
 public:
  std::string_view name() const override { return "softmax"; }
  std::vector<Tensor*> saved_tensors() override { return {&output}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    Tensor grad_input = Tensor::empty_like(grad_output);
    grad_output.backend().softmax_backward(output, grad_output, grad_input);
    return {grad_input};
  }

  Tensor output;
};

}  // namespace

Variable softmax(const Variable& input) {
  detail::check_operands("softmax", {input});
  check(input.shape().rank() >= 1, "softmax: expected an input with rows, found a scalar");
  const Tensor output = Tensor::empty_like(input.tensor());
  input.backend().softmax_forward(input.tensor(), output);
  return record(output, {input}, [&] {
    auto node = std::make_shared<SoftmaxBackward>();
    node->output = output;
    return node;
  });
}

}  // namespace normtune
