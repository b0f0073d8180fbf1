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
class ActivationLinearBackward : public Node {
 public:
  std::string_view name() const override { return "activation_linear"; }
  bool reduces_rows(size_t i) const override { return i > 0; }
  bool takes_column_sums() const override { return needs_input_grad(2); }

  Tensor weight;  // if the input requires a gradient

 protected:
  /// dX = (dY W) * f'(X), the second step by multiply_by_slope(its gradient, in place; the sums of its
  /// columns or null).
  template <typename MultiplyBySlope>
  Tensor input_gradient(const Tensor& grad_output, const MultiplyBySlope& multiply_by_slope) {
    Tensor grad =
        Tensor::empty({grad_output.size(0), weight.size(1)}, grad_output.dtype(), grad_output.device());
    grad.backend().matmul({.a = grad_output, .b = weight, .c = grad});
    Tensor sums = column_sums_are_taken(0) ? bias_like(grad) : Tensor();
    multiply_by_slope(grad, sums.defined() ? &sums : nullptr);
    give_column_sums(0, std::move(sums));
    return grad;
  }

  Tensor bias_gradient(const Tensor& grad_output) const {
    if (!needs_input_grad(2)) return {};
    return column_sums().defined() ? column_sums() : reduction().bias_gradient(grad_output, grad_output);
  }
};

/// A is as large as X and cheap to compute again, so only X is kept.
class TrainedActivationLinearBackward : public ActivationLinearBackward {
 public:
  explicit TrainedActivationLinearBackward(Activation kind) : kind_(kind) {}
  std::vector<Tensor*> saved_tensors() override { return {&input, &weight}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    std::vector<Tensor> grads(3);
    const Tensor activated = overwritable(input);
    if (needs_input_grad(0)) {
      grads[0] = input_gradient(grad_output, [&](const Tensor& grad, const Tensor* sums) {
        grad.backend().activation_backward({.activation = kind_,
                                            .input = input,
                                            .grad_output = grad,
                                            .grad_input = grad,
                                            .column_sums = sums,
                                            .output = &activated});
      });
    } else {
      grad_output.backend().activation_forward(kind_, input, activated);
    }
    grads[1] = reduction().weight_gradient(grad_output, grad_output, activated);
    grads[2] = bias_gradient(grad_output);
    return grads;
  }

  Tensor input;

 private:
  Activation kind_;
};

/// Without dW nobody asks for A again, and f'(X) is all that is needed of X.
class FrozenActivationLinearBackward : public ActivationLinearBackward {
 public:
  std::vector<Tensor*> saved_tensors() override { return {&derivative, &weight}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    std::vector<Tensor> grads(3);
    if (needs_input_grad(0)) {
      grads[0] = input_gradient(grad_output, [&](const Tensor& grad, const Tensor* sums) {
        grad.backend().derivative_backward(
            {.derivative = derivative, .grad_output = grad, .grad_input = grad, .column_sums = sums});
      });
    }
    grads[2] = bias_gradient(grad_output);
    return grads;
  }

  Tensor derivative;  // if the input requires a gradient
};

void check_activation_linear(const Variable& input, const Variable& weight, const Variable& bias) {
  std::vector<Variable> parameters{weight};
  if (bias.defined()) parameters.push_back(bias);
  detail::check_operands("activation_linear", {input}, parameters);
  detail::check_rank("activation_linear", "input", input.shape(), 2);
  detail::check_rank("activation_linear", "weight", weight.shape(), 2);
  const int64_t out_features = weight.size(0);
  detail::check_shape("activation_linear", "weight", weight.shape(), {out_features, input.size(1)});
  if (bias.defined()) detail::check_shape("activation_linear", "bias", bias.shape(), {out_features});
}

}  // namespace

Variable activation_linear(Variable input, Activation kind, const Variable& weight, const Variable& bias) {
  check_activation_linear(input, weight, bias);
  Backend& backend = input.backend();
  const bool is_recorded = needs_recording(std::vector{input, weight, bias});
  const bool keeps_input = is_recorded && weight.requires_grad();
  const bool keeps_derivative = is_recorded && input.requires_grad() && !weight.requires_grad();

  const Tensor activated =
      input.is_unique() && !keeps_input ? input.tensor() : Tensor::empty_like(input.tensor());
  Tensor derivative;
  if (keeps_derivative) {
    derivative = Tensor::empty(input.shape(), backend.derivative_dtype(input.dtype()), input.device());
    backend.activation_with_derivative(kind, input.tensor(), activated, derivative);
  } else {
    backend.activation_forward(kind, input.tensor(), activated);
  }
  const Tensor output = Tensor::empty({input.size(0), weight.size(0)}, input.dtype(), input.device());
  const Tensor factor = weight_factors({weight}, input).front();
  Backend::MatMul product{.a = activated, .b = factor, .transpose_b = true, .c = output};
  if (bias.defined()) product.bias = bias.tensor();
  backend.matmul(product);

  return record(output, {input, weight, bias}, [&]() -> std::shared_ptr<Node> {
    std::shared_ptr<ActivationLinearBackward> node;
    if (keeps_input) {
      auto trained = std::make_shared<TrainedActivationLinearBackward>(kind);
      trained->input = input.tensor();
      node = trained;
    } else {
      auto frozen = std::make_shared<FrozenActivationLinearBackward>();
      frozen->derivative = derivative;
      node = frozen;
    }
    if (input.requires_grad()) node->weight = factor;
    return node;
  });
}

}  // namespace normtune
