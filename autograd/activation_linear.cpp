#include "autograd/activation_linear.h"

#include "autograd/checks.h"
#include "autograd/weight_factors.h"

namespace normtune {

namespace {

/// A vector for the columns of `matrix`, as a bias is.
Tensor bias_like(const Tensor& matrix) {
  return Tensor::empty({matrix.size(1)}, parameter_dtype(matrix.dtype()), matrix.device());
}

/// With A = f(X) and Y = A W^T + b:  dX = (dY W) * f'(X),  dW = dY^T A,  db = sum over rows of dY.
/// A is as large as X and cheap to compute again, so only X is kept.
class ActivationLinearBackward : public Node {
 public:
  explicit ActivationLinearBackward(Activation kind) : kind_(kind) {}
  std::string_view name() const override { return "activation_linear"; }
  std::vector<Tensor*> saved_tensors() override { return {&input, &weight}; }
  bool reduces_rows(size_t i) const override { return i > 0; }
  bool takes_column_sums() const override { return needs_input_grad(2); }

  std::vector<Tensor> backward(Tensor grad_output) override {
    std::vector<Tensor> grads(3);
    const Tensor activated = needs_input_grad(1) ? overwritable(input) : Tensor();
    if (needs_input_grad(0)) {
      grads[0] = input_gradient(grad_output, activated);
    } else if (activated.defined()) {
      grad_output.backend().activation_forward(kind_, input, activated);
    }
    if (needs_input_grad(1)) grads[1] = reduction().weight_gradient(grad_output, grad_output, activated);
    if (needs_input_grad(2)) {
      grads[2] =
          column_sums().defined() ? column_sums() : reduction().bias_gradient(grad_output, grad_output);
    }
    return grads;
  }

  Tensor input, weight;

 private:
  /// dX; on the way f(X), if `activated` is defined.
  Tensor input_gradient(const Tensor& grad_output, const Tensor& activated) {
    Backend& backend = grad_output.backend();
    Tensor grad = Tensor::empty_like(input);
    backend.matmul({.a = grad_output, .b = weight, .c = grad});
    Tensor sums = column_sums_are_taken(0) ? bias_like(grad) : Tensor();
    backend.activation_backward({.activation = kind_,
                                 .input = input,
                                 .grad_output = grad,
                                 .grad_input = grad,
                                 .column_sums = sums.defined() ? &sums : nullptr,
                                 .output = activated.defined() ? &activated : nullptr});
    give_column_sums(0, std::move(sums));
    return grad;
  }

  Activation kind_;
};

}  // namespace

Variable activation_linear(const Variable& input, Activation kind, const Variable& weight,
                           const Variable& bias) {
  std::vector<Variable> parameters{weight};
  if (bias.defined()) parameters.push_back(bias);
  detail::check_operands("activation_linear", {input}, parameters);
  detail::check_rank("activation_linear", "input", input.shape(), 2);
  detail::check_rank("activation_linear", "weight", weight.shape(), 2);
  const int64_t out_features = weight.size(0);
  detail::check_shape("activation_linear", "weight", weight.shape(), {out_features, input.size(1)});
  if (bias.defined()) detail::check_shape("activation_linear", "bias", bias.shape(), {out_features});

  const Tensor activated = Tensor::empty_like(input.tensor());
  input.backend().activation_forward(kind, input.tensor(), activated);
  const Tensor output = Tensor::empty({input.size(0), out_features}, input.dtype(), input.device());
  const Tensor factor = weight_factors({weight}, input).front();
  Backend::MatMul product{.a = activated, .b = factor, .transpose_b = true, .c = output};
  if (bias.defined()) product.bias = bias.tensor();
  input.backend().matmul(product);
  return record(output, {input, weight, bias}, [&] {
    auto node = std::make_shared<ActivationLinearBackward>(kind);
    if (input.requires_grad() || weight.requires_grad()) node->input = input.tensor();
    if (input.requires_grad()) node->weight = factor;
    return node;
  });
}

}  // namespace normtune
