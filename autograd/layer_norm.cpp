#include "autograd/layer_norm.h"

#include "autograd/checks.h"
#include "autograd/normalization.h"

namespace normtune {

namespace {

/// See Normalization for the derivation.
class LayerNormBackward : public Node {
 public:
  std::string_view name() const override { return "layer_norm"; }
  std::vector<Tensor*> saved_tensors() override { return normalization.saved_tensors(); }
  bool reduces_rows(size_t i) const override { return i > 0; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    const Shape shape = grad_output.shape();
    grad_output = grad_output.reshape({shape.numel() / shape.back(), shape.back()});
    std::vector<Tensor> grads(3);
    if (needs_input_grad(0)) grads[0] = overwritable(grad_output);
    normalization.backward(grad_output, DropoutMask{},
                           {.input = needs_input_grad(0) ? &grads[0] : nullptr,
                            .weight = needs_input_grad(1) ? &grads[1] : nullptr,
                            .bias = needs_input_grad(2) ? &grads[2] : nullptr},
                           reduction());
    if (needs_input_grad(0)) grads[0] = grads[0].reshape(shape);
    return grads;
  }

  detail::Normalization normalization;
};

}  // namespace

Variable layer_norm(const Variable& input, const Variable& weight, const Variable& bias, double eps) {
  detail::check_operands("layer_norm", {input}, {weight, bias});
  detail::check_normalization("layer_norm", input, weight, bias);
  const Shape rows{input.tensor().numel() / input.shape().back(), input.shape().back()};
  const Tensor output = Tensor::empty(rows, input.dtype(), input.device());
  auto node = std::make_shared<LayerNormBackward>();
  const bool keep = needs_recording(std::vector<Variable>{input, weight});
  node->normalization.forward(input.tensor().reshape(rows), nullptr, DropoutMask{}, weight, bias, eps, keep,
                              output);
  return record(output.reshape(input.shape()), {input, weight, bias}, [&] { return node; });
}

}  // namespace normtune
