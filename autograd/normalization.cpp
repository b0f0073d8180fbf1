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

void Normalization::keep_results(const Tensor& output, const Variable& weight) {
  normalized_ = Tensor::empty_like(output);
  rstd_ = Tensor::empty({output.size(0)}, parameter_dtype(output.dtype()), output.device());
  weight_ = weight.tensor();
}

void Normalization::forward(const Tensor& input, const Tensor* residual, const DropoutMask& mask,
                            const Variable& weight, const Variable& bias, double eps, bool keep,
                            const Tensor& output) {
  if (keep) keep_results(output, weight);
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

void Normalization::forward(const Backend::EmbeddingsLayerNorm::Tables& tables, const DropoutMask& mask,
                            const Variable& weight, const Variable& bias, double eps, bool keep,
                            const Tensor& output) {
  if (keep) keep_results(output, weight);
  output.backend().embeddings_layer_norm({.tables = tables,
                                          .mask = mask,
                                          .weight = weight.tensor(),
                                          .bias = bias.tensor(),
                                          .eps = eps,
                                          .output = output,
                                          .normalized = keep ? &normalized_ : nullptr,
                                          .rstd = keep ? &rstd_ : nullptr});
}

void Normalization::backward(const Tensor& grad_output, const DropoutMask& mask, Gradients wanted,
                             const GradientReduction& reduction) const {
  if (reduction.squares_examples()) {  // before wanted.input, which may overwrite grad_output
    if (wanted.weight) *wanted.weight = reduction.squared_gain_gradient(grad_output, normalized_);
    if (wanted.bias) *wanted.bias = reduction.bias_gradient(grad_output, grad_output);
    if (!wanted.input && !wanted.residual) return;
    wanted.weight = wanted.bias = nullptr;
  }
  const DType dtype = parameter_dtype(grad_output.dtype());
  for (Tensor* vector : {wanted.weight, wanted.bias, wanted.column_sums}) {
    if (vector) *vector = Tensor::empty({grad_output.size(1)}, dtype, grad_output.device());
  }
  if (!wanted.input && !wanted.residual && !wanted.weight) {
    if (wanted.bias) grad_output.backend().column_sums({.input = grad_output, .outputs = {*wanted.bias}});
    return;
  }
  grad_output.backend().layer_norm_backward({.grad_output = grad_output,
                                             .normalized = normalized_,
                                             .rstd = rstd_,
                                             .weight = weight_,
                                             .mask = mask,
                                             .grad_input = wanted.input,
                                             .grad_residual = wanted.residual,
                                             .grad_weight = wanted.weight,
                                             .grad_bias = wanted.bias,
                                             .column_sums = wanted.column_sums});
}

}  // namespace normtune::detail
