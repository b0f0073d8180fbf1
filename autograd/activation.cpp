#include "autograd/activation.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// grad_input = grad_output * f'(input); the derivatives stand beside the functions, in the kernels.
class ActivationBackward : public Node {
 public:
  explicit ActivationBackward(Activation kind) : kind_(kind) {}
  std::string_view name() const override { return "activation"; }
  std::vector<Tensor*> saved_tensors() override { return {&input}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    Tensor grad_input = overwritable(grad_output);
    grad_output.backend().activation_backward(
        {.activation = kind_, .input = input, .grad_output = grad_output, .grad_input = grad_input});
    return {grad_input};
  }

  Tensor input;

 private:
  Activation kind_;
};

}  // namespace

Variable activation(const Variable& input, Activation kind) {
  detail::check_operands("activation", {input});
  Tensor output = Tensor::empty_like(input.tensor());
  input.backend().activation_forward(kind, input.tensor(), output);
  return record(std::move(output), {input}, [&] {
    auto node = std::make_shared<ActivationBackward>(kind);
    node->input = input.tensor();
    return node;
  });
}

Variable relu(const Variable& input) {
  return activation(input, Activation::relu);
}
Variable gelu(const Variable& input) {
  return activation(input, Activation::gelu);
}
Variable gelu_tanh(const Variable& input) {
  return activation(input, Activation::gelu_tanh);
}
Variable tanh(const Variable& input) {
  return activation(input, Activation::tanh);
}
Variable silu(const Variable& input) {
  return activation(input, Activation::silu);
}

}  // namespace normtune
