#include "autograd/reshape.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// The elements stay what they are: the gradient takes the input's shape.
class ReshapeBackward : public Node {
 public:
  explicit ReshapeBackward(const Shape& input_shape) : input_shape_(input_shape) {}
  std::string_view name() const override { return "reshape"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }
  std::vector<Tensor> backward(Tensor grad_output) override { return {grad_output.reshape(input_shape_)}; }

 private:
  Shape input_shape_;
};

}  // namespace

Variable reshape(const Variable& input, const Shape& shape) {
  detail::check_operands("reshape", {input});
  check(shape.numel() == input.tensor().numel(),
        "reshape: expected as many elements as shape {} has, found {}", input.shape(), shape);
  return record(input.tensor().reshape(shape), {input},
                [&] { return std::make_shared<ReshapeBackward>(input.shape()); });
}

}  // namespace normtune
