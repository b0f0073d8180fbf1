#include "tensor/widened.h"

namespace normtune {

Tensor widened(const MatrixRef& matrix, Device device) {
  Tensor copy = Tensor::empty({matrix.rows, matrix.cols}, DType::float32, device);
  copy.backend().convert(matrix, copy);
  return copy;
}

void round_into(const Tensor& values, const MatrixRef& target) {
  values.backend().convert(values, target);
}

void activation_backward_in_float32(const Backend::ActivationBackward& args) {
  const Tensor input = widened(args.input), grad = widened(args.grad_output);
  const Tensor output = args.output != nullptr ? Tensor::empty_like(input) : Tensor();
  grad.backend().activation_backward({.activation = args.activation,
                                      .input = input,
                                      .grad_output = grad,
                                      .grad_input = grad,
                                      .column_sums = args.column_sums,
                                      .output = output.defined() ? &output : nullptr});
  round_into(grad, args.grad_input);
  if (args.output != nullptr) round_into(output, *args.output);
}

void derivative_backward_in_float32(const Backend::DerivativeBackward& args) {
  const Tensor grad = widened(args.grad_output);
  grad.backend().derivative_backward({.derivative = args.derivative,
                                      .grad_output = grad,
                                      .grad_input = grad,
                                      .column_sums = args.column_sums});
  round_into(grad, args.grad_input);
}

void attention_forward_in_float32(const Backend::AttentionForward& args) {
  const Device device = args.context.device();
  const Tensor query = widened(args.query, device), key = widened(args.key, device);
  const Tensor value = widened(args.value, device);
  const Tensor context = Tensor::empty(args.context.shape(), DType::float32, device);
  context.backend().attention_forward({.query = query,
                                       .key = key,
                                       .value = value,
                                       .query_cu_seqlens = args.query_cu_seqlens,
                                       .cu_seqlens = args.cu_seqlens,
                                       .num_heads = args.num_heads,
                                       .mask = args.mask,
                                       .context = context,
                                       .log_sum_exp = args.log_sum_exp});
  round_into(context, args.context);
}

void attention_backward_in_float32(const Backend::AttentionBackward& args) {
  const Device device = args.grad_context.device();
  const Tensor query = widened(args.query, device), key = widened(args.key, device);
  const Tensor value = widened(args.value, device);
  const Tensor grad_query = Tensor::empty_like(query), grad_key = Tensor::empty_like(key);
  const Tensor grad_value = Tensor::empty_like(value);
  query.backend().attention_backward({.query = query,
                                      .key = key,
                                      .value = value,
                                      .query_cu_seqlens = args.query_cu_seqlens,
                                      .cu_seqlens = args.cu_seqlens,
                                      .num_heads = args.num_heads,
                                      .mask = args.mask,
                                      .log_sum_exp = args.log_sum_exp,
                                      .grad_context = widened(args.grad_context),
                                      .grad_query = grad_query,
                                      .grad_key = grad_key,
                                      .grad_value = grad_value});
  round_into(grad_query, args.grad_query);
  round_into(grad_key, args.grad_key);
  round_into(grad_value, args.grad_value);
}

}  // namespace normtune
