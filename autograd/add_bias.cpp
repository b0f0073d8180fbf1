#include "autograd/add_bias.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// grad_input = grad_output;  every row adds the same bias, so grad_bias is the sum of grad_output's rows.
class AddBiasBackward : public Node {
 public:
  std::string_view name() const override { return "add_bias"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    std::vector<Tensor> grads(2);
    if (needs_input_grad(1)) {
      grads[1] = Tensor::empty({grad_output.shape().back()}, grad_output.dtype(), grad_output.device());
      grad_output.backend().column_sums({.input = grad_output, .outputs = {grads[1]}});
    }
    if (needs_input_grad(0)) grads[0] = std::move(grad_output);
    return grads;
  }
};

}  // namespace

Variable add_bias(const Variable& input, const Variable& bias) {
  detail::check_operands("add_bias", {input, bias});
  check(input.shape().rank() >= 1, "add_bias: expected an input with rows, found a scalar");
  detail::check_shape("add_bias", "bias", bias.shape(), {input.shape().back()});
  Tensor output = Tensor::empty_like(input.tensor());
  input.backend().add_bias(input.tensor(), bias.tensor(), output);
  return record(std::move(output), {input, bias}, [] { return std::make_shared<AddBiasBackward>(); });
}

}  // namespace normtune
