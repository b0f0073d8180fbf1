#include "autograd/low_rank_update.h"

#include "autograd/checks.h"
#include "autograd/weight_factors.h"

namespace normtune {

namespace {

/// With L = s X A^T and Y = Y0 + L B^T, dY standing for its columns that are updated:
///   dB = dY^T L,  dL = s dY B,  dA = dL^T X,  dX = dL A;  and the gradient of Y0 is that of Y.
class LowRankUpdateBackward : public Node {
 public:
  LowRankUpdateBackward(double scaling, int64_t column, const Shape& lora_B_shape)
      : scaling_(scaling), column_(column), out_features_(lora_B_shape[0]), r_(lora_B_shape[1]) {}
  std::string_view name() const override { return "low_rank_update"; }
  std::vector<Tensor*> saved_tensors() override { return {&input, &lora_A, &lora_B, &low_rank}; }
  bool reduces_rows(size_t i) const override { return i >= 2; }

  /// Inputs in the order base, input, A, B.
  std::vector<Tensor> backward(Tensor grad_output) override {
    const MatrixRef grad_columns = MatrixRef(grad_output).columns(column_, column_ + out_features_);
    std::vector<Tensor> grads(4);
    if (needs_input_grad(3)) grads[3] = reduction().weight_gradient(grad_output, grad_columns, low_rank);
    if (needs_input_grad(1) || needs_input_grad(2)) {
      const Tensor grad_low_rank = low_rank_gradient(grad_output, grad_columns);
      if (needs_input_grad(2)) grads[2] = reduction().weight_gradient(grad_low_rank, grad_low_rank, input);
      if (needs_input_grad(1)) grads[1] = input_gradient(grad_low_rank);
    }
    if (needs_input_grad(0)) grads[0] = std::move(grad_output);
    return grads;
  }

  Tensor input;     // if A requires a gradient
  Tensor lora_A;    // if the input does
  Tensor lora_B;    // if A or the input does
  Tensor low_rank;  // L, if B does: [rows, r]

 private:
  Tensor low_rank_gradient(const Tensor& grad_output, const MatrixRef& grad_columns) const {
    Tensor grad = Tensor::empty({grad_output.size(0), r_}, grad_output.dtype(), grad_output.device());
    Backend& backend = grad_output.backend();
    backend.matmul({.a = grad_columns, .b = lora_B, .c = grad});
    backend.scale(grad, scaling_, grad);
    return grad;
  }

  /// Added to what the input's other users have found, where that is possible.
  Tensor input_gradient(const Tensor& grad_low_rank) {
    Tensor grad = take_partial_grad(1);
    const bool accumulate = grad.defined();
    if (!accumulate) {
      grad = Tensor::empty({grad_low_rank.size(0), lora_A.size(1)}, grad_low_rank.dtype(),
                           grad_low_rank.device());
    }
    grad.backend().matmul({.a = grad_low_rank, .b = lora_A, .c = grad, .accumulate = accumulate});
    return grad;
  }

  double scaling_;
  int64_t column_, out_features_, r_;
};

void check_update(const Variable& base, const Variable& input, const Variable& lora_A, const Variable& lora_B,
                  int64_t column) {
  detail::check_operands("low_rank_update", {base, input}, {lora_A, lora_B});
  detail::check_rank("low_rank_update", "base", base.shape(), 2);
  detail::check_rank("low_rank_update", "input", input.shape(), 2);
  detail::check_rank("low_rank_update", "lora_A", lora_A.shape(), 2);
  detail::check_rank("low_rank_update", "lora_B", lora_B.shape(), 2);
  detail::check_shape("low_rank_update", "input", input.shape(), {base.size(0), input.size(1)});
  detail::check_shape("low_rank_update", "lora_A", lora_A.shape(), {lora_A.size(0), input.size(1)});
  detail::check_shape("low_rank_update", "lora_B", lora_B.shape(), {lora_B.size(0), lora_A.size(0)});
  const int64_t end = column + lora_B.size(0);
  check(0 <= column && end <= base.size(1), "low_rank_update: expected columns in [0, {}), found [{}, {})",
        base.size(1), column, end);
}

/// scaling * input A^T: [rows, r]
Tensor scaled_low_rank(const Tensor& input, const Tensor& lora_A, double scaling) {
  Tensor low_rank = Tensor::empty({input.size(0), lora_A.size(0)}, input.dtype(), input.device());
  input.backend().matmul({.a = input, .b = lora_A, .transpose_b = true, .c = low_rank});
  input.backend().scale(low_rank, scaling, low_rank);
  return low_rank;
}

}  // namespace

Variable low_rank_update(Variable base, const Variable& input, const Variable& lora_A, const Variable& lora_B,
                         double scaling, int64_t column) {
  check_update(base, input, lora_A, lora_B, column);
  const Tensor factor_A = weight_factors({lora_A}, input).front();
  const Tensor factor_B = weight_factors({lora_B}, input).front();
  const Tensor low_rank = scaled_low_rank(input.tensor(), factor_A, scaling);
  const Tensor output = base.is_unique() ? base.tensor() : base.tensor().clone();
  output.backend().matmul({.a = low_rank,
                           .b = factor_B,
                           .transpose_b = true,
                           .c = MatrixRef(output).columns(column, column + lora_B.size(0)),
                           .accumulate = true});
  return record(output, {std::move(base), input, lora_A, lora_B}, [&] {
    auto node = std::make_shared<LowRankUpdateBackward>(scaling, column, lora_B.shape());
    if (lora_A.requires_grad()) node->input = input.tensor();
    if (lora_B.requires_grad()) node->low_rank = low_rank;
    if (lora_A.requires_grad() || input.requires_grad()) node->lora_B = factor_B;
    if (input.requires_grad()) node->lora_A = factor_A;
    return node;
  });
}

}  // namespace normtune
