#include "autograd/slice_columns.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// The columns that were taken get the gradient, the others zero.
class SliceColumnsBackward : public Node {
 public:
  SliceColumnsBackward(const Shape& input_shape, int64_t begin) : input_shape_(input_shape), begin_(begin) {}
  std::string_view name() const override { return "slice_columns"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    Tensor grad_input = Tensor::zeros(input_shape_, grad_output.dtype(), grad_output.device());
    grad_output.backend().copy_matrix(grad_output,
                                      MatrixRef(grad_input).columns(begin_, begin_ + grad_output.size(1)));
    return {grad_input};
  }

 private:
  Shape input_shape_;
  int64_t begin_;
};

}  // namespace

Variable slice_columns(const Variable& input, int64_t begin, int64_t end) {
  detail::check_operands("slice_columns", {input});
  detail::check_rank("slice_columns", "input", input.shape(), 2);
  check(0 <= begin && begin < end && end <= input.size(1),
        "slice_columns: expected a range of columns in [0, {}), found [{}, {})", input.size(1), begin, end);
  Tensor output = Tensor::empty({input.size(0), end - begin}, input.dtype(), input.device());
  input.backend().copy_matrix(MatrixRef(input.tensor()).columns(begin, end), output);
  return record(std::move(output), {input},
                [&] { return std::make_shared<SliceColumnsBackward>(input.shape(), begin); });
}

}  // namespace normtune
