#pragma once

#include "tensor/backend.h"
#include "tensor/tensor.h"

namespace normtune {

/// How backward makes the gradient of a parameter out of the rows of a batch. Every row has a gradient of its
/// own with respect to a parameter, which all rows share. The parameter gets
///
///   their sum (the gradient of a loss that is a sum over rows), or,
///   given the rows of each example, the sum over examples of the squared sum over the rows of the example.
///
/// An op that has parameters asks Node::reduction() for their gradients, so that both come from the same
/// place. The backward pass through the activations is the same for either.
class GradientReduction {
 public:
  /// The sum over all rows.
  GradientReduction() = default;
  /// Squares of single examples: example e owns the rows [cu_seqlens[e], cu_seqlens[e + 1]) of a tensor with
  /// cu_seqlens[batch] rows, and row e of one with `batch` rows (the [CLS] rows).
  explicit GradientReduction(Tensor cu_seqlens);  // [batch + 1] int32

  bool squares_examples() const { return cu_seqlens_.defined(); }

  /// Of a bias that is added to some columns of the output: `grad_columns` are those of `grad_output`.
  Tensor bias_gradient(const Tensor& grad_output, const MatrixRef& grad_columns) const;
  /// Of biases with so many elements that are added to the columns of the output side by side, all of them.
  std::vector<Tensor> bias_gradients(const Tensor& grad_output, const std::vector<int64_t>& sizes) const;
  /// Of W in Y = X W^T, whose output is some columns of `grad_output`; a row's gradient is the outer product
  /// of its rows of dY and X. The sum may still be under way (Backend::matmul_beside): X and dY are then not
  /// unique.
  Tensor weight_gradient(const Tensor& grad_output, const MatrixRef& grad_columns, const Tensor& input) const;
  /// Of w in y = n * w, n [num_rows, columns]. Squares only: the sum comes with layer_norm_backward().
  Tensor squared_gain_gradient(const Tensor& grad_output, const Tensor& normalized) const;
  /// Of a table whose rows `index` were looked up.
  Tensor table_gradient(const Tensor& grad_output, const Tensor& index, const Shape& table_shape,
                        int64_t skip_index) const;

 private:
  const Tensor& bounds(int64_t num_rows) const;

  Tensor cu_seqlens_;    // undefined: the sum over all rows
  Tensor one_row_each_;  // 0, 1, ..., batch
  int64_t total_rows_ = 0;
};

}  // namespace normtune
