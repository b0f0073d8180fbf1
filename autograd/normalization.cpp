#include "autograd/normalization.h"

#include "autograd/checks.h"

namespace normtune::detail {

void check_normalization(std::string_view op, const Variable& input, const Variable& weight,
                         const Variable& bias) {
  check(input.shape().rank() >= 1 && input.shape().back() > 0,
        "{}: expected an input with rows, found shape {}", op, input.shape());
  const int64_t hidden_size = input.shape().back();
  check_shape(op, "weight", weight.shape(), {hidden_size});
  check_shape(op, "bias", bias.shape(), {hidden_size});
}

void Normalization::forward(const Tensor& input, const Tensor* residual, const DropoutMask& mask,
                            const Variable& weight, const Variable& bias, double eps, bool keep,
                            const Tensor& output) {
  if (keep) {
    normalized_ = Tensor::empty_like(input);
    rstd_ = Tensor::empty({input.size(0)}, parameter_dtype(input.dtype()), input.device());
    weight_ = weight.tensor();
  }
  input.backend().layer_norm_forward({.input = input,
                                      .residual = residual,
                                      .mask = mask,
                                      .weight = weight.tensor(),
                                      .bias = bias.tensor(),
                                      .eps = eps,
                                      .output = output,
                                      .normalized = keep ? &normalized_ : nullptr,
                                      .rstd = keep ? &rstd_ : nullptr});
}

void Normalization::backward(const Tensor& grad_output, const DropoutMask& mask, const Tensor* grad_input,
                             const Tensor* grad_residual, Tensor* grad_weight, Tensor* grad_bias,
                             const GradientReduction& reduction) const {
  if (reduction.squares_examples()) {  // before grad_input, which may overwrite grad_output
    if (grad_weight) *grad_weight = reduction.squared_gain_gradient(grad_output, normalized_);
    if (grad_bias) *grad_bias = reduction.bias_gradient(grad_output, grad_output);
    if (!grad_input && !grad_residual) return;
    grad_weight = grad_bias = nullptr;
  }
  const DType dtype = parameter_dtype(grad_output.dtype());
  for (Tensor* grad : {grad_weight, grad_bias}) {
    if (grad) *grad = Tensor::empty({grad_output.size(1)}, dtype, grad_output.device());
  }
  if (!grad_input && !grad_residual && !grad_weight) {
    if (grad_bias) grad_output.backend().column_sums({.input = grad_output, .output = *grad_bias});
    return;
  }
  grad_output.backend().layer_norm_backward({.grad_output = grad_output,
                                             .normalized = normalized_,
                                             .rstd = rstd_,
                                             .weight = weight_,
                                             .mask = mask,
                                             .grad_input = grad_input,
                                             .grad_residual = grad_residual,
                                             .grad_weight = grad_weight,
                                             .grad_bias = grad_bias});
}

}  // namespace normtune::detail
