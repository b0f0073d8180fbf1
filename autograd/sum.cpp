#include "autograd/sum.h"

#include "autograd/checks.h"
#include "autograd/scale.h"

namespace normtune {

namespace {

/// Each element of the input has the derivative 1: grad_input = grad_output everywhere.
class SumBackward : public Node {
 public:
  explicit SumBackward(const Shape& input_shape) : input_shape_(input_shape) {}
  std::string_view name() const override { return "sum"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    return {Tensor::full(input_shape_, grad_output.item(), grad_output.dtype(), grad_output.device())};
  }

 private:
  Shape input_shape_;
};

}  // namespace

Variable sum(const Variable& input) {
  detail::check_operands("sum", {input});
  Tensor output = Tensor::empty({}, input.dtype(), input.device());
  input.backend().sum(input.tensor(), output);
  return record(std::move(output), {input}, [&] { return std::make_shared<SumBackward>(input.shape()); });
}

Variable mean(const Variable& input) {
  detail::check_operands("mean", {input});
  check(input.tensor().numel() > 0, "mean: expected at least one element, found shape {}", input.shape());
  return scale(sum(input), 1.0 / static_cast<double>(input.tensor().numel()));
}

}  // namespace normtune
