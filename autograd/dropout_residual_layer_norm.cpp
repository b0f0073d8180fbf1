#include "autograd/dropout_residual_layer_norm.h"

#include "autograd/checks.h"
#include "autograd/normalization.h"

namespace normtune {

namespace {

/// With s = dropout(input) + residual and grad_s as in Normalization:
///   grad_residual = grad_s,   grad_input = dropout(grad_s)  with the same mask.
class DropoutResidualLayerNormBackward : public Node {
 public:
  std::string_view name() const override { return "dropout_residual_layer_norm"; }
  std::vector<Tensor*> saved_tensors() override {
    std::vector<Tensor*> saved = normalization.saved_tensors();
    saved.push_back(&mask.example_ids);
    saved.push_back(&mask.positions);
    return saved;
  }
  bool reduces_rows(size_t i) const override { return i > 1; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    const bool needs_input = needs_input_grad(0), needs_residual = needs_input_grad(1);
    // Without dropout input and residual have the same gradient, and share one tensor.
    const bool shared = needs_input && needs_residual && !mask.active();
    std::vector<Tensor> grads(4);
    if (needs_residual && !shared) grads[1] = overwritable(grad_output);
    if (needs_input)
      grads[0] = needs_residual && !shared ? Tensor::empty_like(grad_output) : overwritable(grad_output);
    Tensor column_sums;
    normalization.backward(grad_output, mask,
                           {.input = needs_input ? &grads[0] : nullptr,
                            .residual = needs_residual && !shared ? &grads[1] : nullptr,
                            .weight = needs_input_grad(2) ? &grads[2] : nullptr,
                            .bias = needs_input_grad(3) ? &grads[3] : nullptr,
                            .column_sums = column_sums_are_taken(0) ? &column_sums : nullptr},
                           reduction());
    give_column_sums(0, std::move(column_sums));
    if (shared) grads[1] = grads[0];
    return grads;
  }

  detail::Normalization normalization;
  DropoutMask mask;  // if the input requires a gradient
};

}  // namespace

Variable dropout_residual_layer_norm(const Variable& input, const Variable& residual, const Variable& weight,
                                     const Variable& bias, double eps, const DropoutMask& mask) {
  constexpr std::string_view op = "dropout_residual_layer_norm";
  const std::vector<Variable> inputs{input, residual, weight, bias};
  detail::check_operands(op, {input, residual}, {weight, bias});
  detail::check_rank(op, "input", input.shape(), 2);
  detail::check_shape(op, "residual", residual.shape(), input.shape());
  detail::check_normalization(op, input, weight, bias);
  detail::check_dropout_mask(op, mask, input.size(0), input.device());

  Tensor output = Tensor::empty_like(input.tensor());
  auto node = std::make_shared<DropoutResidualLayerNormBackward>();
  const bool keep = needs_recording(std::vector<Variable>{input, residual, weight});
  node->normalization.forward(input.tensor(), &residual.tensor(), mask, weight, bias, eps, keep, output);
  return record(std::move(output), inputs, [&] {
    if (input.requires_grad()) node->mask = mask;
    return node;
  });
}

}  // namespace normtune
