#include "autograd/concat_columns.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// Each input gets its columns of the gradient.
class ConcatColumnsBackward : public Node {
 public:
  explicit ConcatColumnsBackward(std::vector<int64_t> widths) : widths_(std::move(widths)) {}
  std::string_view name() const override { return "concat_columns"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    std::vector<Tensor> grads(widths_.size());
    int64_t column = 0;
    for (size_t i = 0; i < widths_.size(); ++i) {
      if (needs_input_grad(i)) {
        grads[i] =
            Tensor::empty({grad_output.size(0), widths_[i]}, grad_output.dtype(), grad_output.device());
        grad_output.backend().copy_matrix(MatrixRef(grad_output).columns(column, column + widths_[i]),
                                          grads[i]);
      }
      column += widths_[i];
    }
    return grads;
  }

 private:
  std::vector<int64_t> widths_;
};

}  // namespace

Variable concat_columns(const std::vector<Variable>& inputs) {
  check(!inputs.empty(), "concat_columns: expected at least one matrix, found none");
  detail::check_operands("concat_columns", inputs);
  std::vector<int64_t> widths;
  int64_t width = 0;
  for (const Variable& input : inputs) {
    detail::check_rank("concat_columns", "each input", input.shape(), 2);
    detail::check_shape("concat_columns", "each input", input.shape(), {inputs[0].size(0), input.size(1)});
    widths.push_back(input.size(1));
    width += input.size(1);
  }
  Tensor output = Tensor::empty({inputs[0].size(0), width}, inputs[0].dtype(), inputs[0].device());
  int64_t column = 0;
  for (const Variable& input : inputs) {
    input.backend().copy_matrix(input.tensor(), MatrixRef(output).columns(column, column + input.size(1)));
    column += input.size(1);
  }
  return record(std::move(output), inputs, [&] { return std::make_shared<ConcatColumnsBackward>(widths); });
}

}  // namespace normtune
