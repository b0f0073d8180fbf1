#include "autograd/add_columns.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// grad_base = grad_output;  grad_delta = its columns [column, column + m).
class AddColumnsBackward : public Node {
 public:
  AddColumnsBackward(int64_t column, int64_t delta_columns)
      : column_(column), delta_columns_(delta_columns) {}
  std::string_view name() const override { return "add_columns"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    std::vector<Tensor> grads(2);
    if (needs_input_grad(1)) {
      grads[1] =
          Tensor::empty({grad_output.size(0), delta_columns_}, grad_output.dtype(), grad_output.device());
      grad_output.backend().copy_matrix(MatrixRef(grad_output).columns(column_, column_ + delta_columns_),
                                        grads[1]);
    }
    if (needs_input_grad(0)) grads[0] = std::move(grad_output);
    return grads;
  }

 private:
  int64_t column_, delta_columns_;
};

}  // namespace

Variable add_columns(Variable base, const Variable& delta, int64_t column) {
  detail::check_operands("add_columns", {base, delta});
  detail::check_rank("add_columns", "base", base.shape(), 2);
  detail::check_rank("add_columns", "delta", delta.shape(), 2);
  detail::check_shape("add_columns", "delta", delta.shape(), {base.size(0), delta.size(1)});
  const int64_t end = column + delta.size(1);
  check(0 <= column && end <= base.size(1), "add_columns: expected columns in [0, {}), found [{}, {})",
        base.size(1), column, end);
  const Tensor output = base.is_unique() ? base.tensor() : base.tensor().clone();
  output.backend().add_scaled(delta.tensor(), 1.0, MatrixRef(output).columns(column, end));
  return record(output, {std::move(base), delta},
                [&] { return std::make_shared<AddColumnsBackward>(column, delta.size(1)); });
}

}  // namespace normtune
