#include "autograd/gradient_reduction.h"

#include <numeric>

namespace normtune {

GradientReduction::GradientReduction(Tensor cu_seqlens) : cu_seqlens_(std::move(cu_seqlens)) {
  const std::vector<int32_t> bounds = cu_seqlens_.to_vector<int32_t>();
  check(!bounds.empty() && bounds.front() == 0, "backward_squares: expected cu_seqlens that begin with 0");
  total_rows_ = bounds.back();
  std::vector<int32_t> ascending(bounds.size());
  std::iota(ascending.begin(), ascending.end(), 0);
  one_row_each_ = Tensor::from_values(cu_seqlens_.shape(), ascending, cu_seqlens_.device());
}

const Tensor& GradientReduction::bounds(int64_t num_rows) const {
  const int64_t batch = cu_seqlens_.numel() - 1;
  check(num_rows == total_rows_ || num_rows == batch,
        "backward_squares: expected {} rows (all tokens) or {} (one for each example), found {}", total_rows_,
        batch, num_rows);
  return num_rows == batch ? one_row_each_ : cu_seqlens_;
}

Tensor GradientReduction::bias_gradient(const Tensor& grad_output, const MatrixRef& grad_columns) const {
  Tensor grad =
      Tensor::empty({grad_columns.cols}, parameter_dtype(grad_output.dtype()), grad_output.device());
  Backend& backend = grad_output.backend();
  if (squares_examples()) {
    backend.squared_column_sums(
        {.input = grad_columns, .factor = nullptr, .cu_seqlens = bounds(grad_columns.rows), .output = grad});
  } else {
    backend.column_sums({.input = grad_columns, .outputs = {grad}});
  }
  return grad;
}

std::vector<Tensor> GradientReduction::bias_gradients(const Tensor& grad_output,
                                                      const std::vector<int64_t>& sizes) const {
  std::vector<Tensor> grads;
  int64_t column = 0;
  for (const int64_t size : sizes) {
    if (squares_examples()) {
      grads.push_back(bias_gradient(grad_output, MatrixRef(grad_output).columns(column, column + size)));
    } else {
      grads.push_back(Tensor::empty({size}, parameter_dtype(grad_output.dtype()), grad_output.device()));
    }
    column += size;
  }
  if (!squares_examples()) grad_output.backend().column_sums({.input = grad_output, .outputs = grads});
  return grads;
}

Tensor GradientReduction::weight_gradient(const Tensor& grad_output, const MatrixRef& grad_columns,
                                          const Tensor& input) const {
  Tensor grad =
      Tensor::empty({grad_columns.cols, input.size(1)}, parameter_dtype(input.dtype()), input.device());
  Backend& backend = input.backend();
  if (squares_examples()) {
    backend.squared_products(
        {.a = grad_columns, .b = input, .cu_seqlens = bounds(grad_columns.rows), .output = grad});
  } else {
    backend.matmul_beside({.a = grad_columns, .transpose_a = true, .b = input, .c = grad},
                          {grad_output, input});
  }
  return grad;
}

Tensor GradientReduction::squared_gain_gradient(const Tensor& grad_output, const Tensor& normalized) const {
  Tensor grad =
      Tensor::empty({grad_output.size(1)}, parameter_dtype(grad_output.dtype()), grad_output.device());
  grad_output.backend().squared_column_sums({.input = grad_output,
                                             .factor = &normalized,
                                             .cu_seqlens = bounds(grad_output.size(0)),
                                             .output = grad});
  return grad;
}

Tensor GradientReduction::table_gradient(const Tensor& grad_output, const Tensor& index,
                                         const Shape& table_shape, int64_t skip_index) const {
  Tensor grad = Tensor::empty(table_shape, grad_output.dtype(), grad_output.device());
  Backend& backend = grad_output.backend();
  if (squares_examples()) {
    backend.squared_scatter_add_rows({.grad_output = grad_output,
                                      .index = index,
                                      .cu_seqlens = bounds(index.numel()),
                                      .grad_input = grad,
                                      .skip_index = skip_index});
  } else {
    backend.scatter_add_rows(
        {.grad_output = grad_output, .index = index, .grad_input = grad, .skip_index = skip_index});
  }
  return grad;
}

}  // namespace normtune
