#include "autograd/linear.h"

#include <algorithm>
#include <span>

#include "autograd/checks.h"
#include "autograd/weight_factors.h"

namespace normtune {

namespace {

/// output = input weight^T + bias; the bias may be undefined.
void multiply_by_weight(const Tensor& weight, const Tensor& bias, const Tensor& input,
                        const MatrixRef& output) {
  Backend::MatMul product{.a = input, .b = weight, .transpose_b = true, .c = output};
  if (bias.defined()) product.bias = bias;
  input.backend().matmul(product);
}

/// output = input [W_0; W_1; ...]^T + [b_0, b_1, ...]
void multiply_by_weights(const Tensor& input, const std::vector<Tensor>& weights,
                         const std::vector<Tensor>& biases, const Tensor& output) {
  const Tensor all_weights = Tensor::stacked(weights);
  const bool no_bias = std::ranges::none_of(biases, &Tensor::defined);
  const bool all_biases = std::ranges::all_of(biases, &Tensor::defined);
  const Tensor all_bias = all_biases ? Tensor::stacked(biases) : Tensor();
  if (all_weights.defined() && (no_bias || all_bias.defined())) {
    return multiply_by_weight(all_weights, all_bias, input, output);
  }
  int64_t column = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const int64_t end = column + weights[i].size(0);
    multiply_by_weight(weights[i], biases[i], input, MatrixRef(output).columns(column, end));
    column = end;
  }
}

/// With Y = X W^T + b:  dX = dY W,  dW = dY^T X,  db = sum over rows of dY.  Several weights own ranges of
/// dY's columns; dX is the sum of their products.
class LinearBackward : public Node {
 public:
  explicit LinearBackward(std::vector<int64_t> out_features) : out_features_(std::move(out_features)) {}
  std::string_view name() const override { return "linear"; }
  std::vector<Tensor*> saved_tensors() override {
    std::vector<Tensor*> saved{&input};
    for (Tensor& weight : weights) saved.push_back(&weight);
    return saved;
  }
  bool reduces_rows(size_t i) const override { return i > 0; }
  bool takes_column_sums() const override { return out_features_.size() == 1 && needs_input_grad(2); }

  /// Inputs in the order input, weights, biases.
  std::vector<Tensor> backward(Tensor grad_output) override {
    const size_t num_weights = out_features_.size();
    std::vector<Tensor> grads(1 + 2 * num_weights);
    int64_t column = 0;
    for (size_t i = 0; i < num_weights; ++i) {
      const int64_t end = column + out_features_[i];
      if (needs_input_grad(1 + i)) {
        const MatrixRef grad_columns = MatrixRef(grad_output).columns(column, end);
        grads[1 + i] = reduction().weight_gradient(grad_output, grad_columns, input);
      }
      column = end;
    }
    add_bias_gradients(grad_output, std::span(grads).subspan(1 + num_weights));
    if (needs_input_grad(0)) grads[0] = input_gradient(grad_output);
    return grads;
  }

  Tensor input;                 // if some weight requires a gradient
  std::vector<Tensor> weights;  // if the input does, trainable ones in its dtype

 private:
  void add_bias_gradients(const Tensor& grad_output, std::span<Tensor> grads) const {
    if (column_sums().defined()) {
      grads[0] = column_sums();
      return;
    }
    const auto is_needed = [&](size_t i) { return needs_input_grad(1 + grads.size() + i); };
    size_t num_needed = 0;
    for (size_t i = 0; i < grads.size(); ++i) num_needed += is_needed(i);
    if (num_needed == grads.size()) {
      std::ranges::move(reduction().bias_gradients(grad_output, out_features_), grads.begin());
      return;
    }
    int64_t column = 0;
    for (size_t i = 0; i < grads.size(); ++i) {
      const MatrixRef grad_columns = MatrixRef(grad_output).columns(column, column + out_features_[i]);
      if (is_needed(i)) grads[i] = reduction().bias_gradient(grad_output, grad_columns);
      column += out_features_[i];
    }
  }

  /// dY W. In bfloat16 the product adds to what the input's later users have found: a sum that is rounded
  /// once, and no pass over memory to add. Not in float32: the CPU's products add their terms block by block,
  /// so that the sum would have other bits.
  Tensor input_gradient(const Tensor& grad_output) const {
    Backend& backend = grad_output.backend();
    Tensor grad = grad_output.dtype() == DType::bfloat16 ? take_partial_grad(0) : Tensor();
    bool accumulate = grad.defined();
    if (!accumulate) {
      grad =
          Tensor::empty({grad_output.size(0), weights[0].size(1)}, grad_output.dtype(), grad_output.device());
    }
    if (const Tensor all = Tensor::stacked(weights); all.defined()) {
      backend.matmul({.a = grad_output, .b = all, .c = grad, .accumulate = accumulate});
      return grad;
    }
    int64_t column = 0;
    for (const Tensor& weight : weights) {
      const int64_t end = column + weight.size(0);
      backend.matmul({.a = MatrixRef(grad_output).columns(column, end),
                      .b = weight,
                      .c = grad,
                      .accumulate = accumulate});
      accumulate = true;
      column = end;
    }
    return grad;
  }

  std::vector<int64_t> out_features_;
};

void check_linear(const Variable& input, const std::vector<Variable>& weights,
                  const std::vector<Variable>& biases) {
  check(!weights.empty() && weights.size() == biases.size(),
        "linear: expected as many biases as weights (an absent one undefined), found {} and {}",
        biases.size(), weights.size());
  std::vector<Variable> parameters = weights;
  for (const Variable& bias : biases) {
    if (bias.defined()) parameters.push_back(bias);
  }
  detail::check_operands("linear", {input}, parameters);
  detail::check_rank("linear", "input", input.shape(), 2);
  for (size_t i = 0; i < weights.size(); ++i) {
    detail::check_rank("linear", "weight", weights[i].shape(), 2);
    detail::check_shape("linear", "weight", weights[i].shape(), {weights[i].size(0), input.size(1)});
    if (biases[i].defined()) detail::check_shape("linear", "bias", biases[i].shape(), {weights[i].size(0)});
  }
}

}  // namespace

Variable linear(const Variable& input, const std::vector<Variable>& weights,
                const std::vector<Variable>& biases) {
  check_linear(input, weights, biases);
  const std::vector<Tensor> factors = weight_factors(weights, input);
  std::vector<Tensor> bias_tensors;
  std::vector<int64_t> out_features;
  int64_t total_features = 0;
  bool weights_require_grad = false;
  for (const Variable& weight : weights) {
    out_features.push_back(weight.size(0));
    total_features += weight.size(0);
    weights_require_grad = weights_require_grad || weight.requires_grad();
  }
  for (const Variable& bias : biases) bias_tensors.push_back(bias.defined() ? bias.tensor() : Tensor());
  Tensor output = Tensor::empty({input.size(0), total_features}, input.dtype(), input.device());
  multiply_by_weights(input.tensor(), factors, bias_tensors, output);

  std::vector<Variable> inputs{input};
  inputs.insert(inputs.end(), weights.begin(), weights.end());
  inputs.insert(inputs.end(), biases.begin(), biases.end());
  return record(std::move(output), inputs, [&] {
    auto node = std::make_shared<LinearBackward>(out_features);
    if (weights_require_grad) node->input = input.tensor();
    if (input.requires_grad()) node->weights = factors;
    return node;
  });
}

Variable linear(const Variable& input, const Variable& weight, const Variable& bias) {
  return linear(input, std::vector<Variable>{weight}, std::vector<Variable>{bias});
}

std::shared_ptr<const void> hold_constant_weights(const std::vector<Variable>& weights, Pass pass) {
  struct Held {
    std::vector<Tensor> weights;  // the form is found by their address, which must stay theirs
    std::shared_ptr<const void> form;
  };
  auto held = std::make_shared<Held>();
  for (const Variable& weight : weights) {
    check(!weight.requires_grad(), "linear: a weight that requires a gradient is not constant");
    held->weights.push_back(weight.tensor());
  }
  const Tensor all = Tensor::stacked(held->weights);
  if (all.defined()) held->form = all.backend().hold_constant(all, pass == Pass::forward);
  return held->form ? held : nullptr;
}

}  // namespace normtune
