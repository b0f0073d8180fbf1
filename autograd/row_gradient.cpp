#include "autograd/row_gradient.h"

#include <algorithm>
#include <vector>

#include "tensor/backend.h"

namespace normtune {

namespace {

Tensor concatenated(const Tensor& a, const Tensor& b) {
  const int64_t size = a.size(0) + b.size(0);
  const Shape shape = a.shape().rank() == 1 ? Shape{size} : Shape{size, a.size(1)};
  Tensor both = Tensor::empty(shape, a.dtype(), a.device());
  both.slice(0, a.size(0)).copy_from(a);
  both.slice(a.size(0), size).copy_from(b);
  return both;
}

}  // namespace

Tensor RowGradient::dense() const {
  Tensor gradient = Tensor::empty({num_rows, values.size(1)}, values.dtype(), values.device());
  values.backend().scatter_add_rows({.grad_output = values, .index = rows, .grad_input = gradient});
  return gradient;
}

RowGradient row_gradient(const Tensor& grad_output, const Tensor& index, int64_t num_rows,
                         int64_t skip_index) {
  std::vector<int32_t> places = index.to_vector<int32_t>();
  std::vector<int32_t> rows = places;
  std::ranges::sort(rows);
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  std::erase(rows, skip_index);
  const int64_t count = std::ssize(rows);
  // Each looked-up row adds to the place of its table row among `rows`; one past the end there is none.
  for (int32_t& place : places) {
    place = static_cast<int32_t>(place == skip_index ? count
                                                     : std::ranges::lower_bound(rows, place) - rows.begin());
  }
  RowGradient gradient{
      .rows = Tensor::from_values({count}, rows, index.device()),
      .values = Tensor::empty({count, grad_output.size(1)}, grad_output.dtype(), grad_output.device()),
      .num_rows = num_rows};
  grad_output.backend().scatter_add_rows({.grad_output = grad_output,
                                          .index = Tensor::from_values(index.shape(), places, index.device()),
                                          .grad_input = gradient.values,
                                          .skip_index = count});
  return gradient;
}

RowGradient add_row_gradients(const RowGradient& a, const RowGradient& b) {
  return row_gradient(concatenated(a.values, b.values), concatenated(a.rows, b.rows), a.num_rows);
}

}  // namespace normtune
