#include "autograd/gather_rows.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// A row that was taken several times gets the sum of the gradients of its copies.
class GatherRowsBackward : public Node {
 public:
  GatherRowsBackward(const Shape& input_shape, int64_t skip_index)
      : input_shape_(input_shape), skip_index_(skip_index) {}
  std::string_view name() const override { return "gather_rows"; }
  std::vector<Tensor*> saved_tensors() override { return {&index}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    if (row_gradient_is_taken(0)) {
      give_row_gradient(0, row_gradient(grad_output, index, input_shape_[0], skip_index_));
      return {Tensor()};
    }
    Tensor grad_input = Tensor::empty(input_shape_, grad_output.dtype(), grad_output.device());
    grad_output.backend().scatter_add_rows(
        {.grad_output = grad_output, .index = index, .grad_input = grad_input, .skip_index = skip_index_});
    return {grad_input};
  }

  Tensor index;

 private:
  Shape input_shape_;
  int64_t skip_index_;
};

}  // namespace

Variable gather_rows(const Variable& input, const Tensor& index, int64_t skip_index) {
  detail::check_operands("gather_rows", {input});
  detail::check_rank("gather_rows", "input", input.shape(), 2);
  detail::check_index("gather_rows", "index", index, input.device(), index.numel(), 0, input.size(0));
  Tensor output = Tensor::empty({index.numel(), input.size(1)}, input.dtype(), input.device());
  input.backend().gather_rows({.input = input.tensor(), .index = index, .output = output});
  return record(std::move(output), {input}, [&] {
    auto node = std::make_shared<GatherRowsBackward>(input.shape(), skip_index);
    node->index = index;
    return node;
  });
}

}  // namespace normtune
