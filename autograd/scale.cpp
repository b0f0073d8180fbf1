#include "autograd/scale.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// grad_input = factor * grad_output.
class ScaleBackward : public Node {
 public:
  explicit ScaleBackward(double factor) : factor_(factor) {}
  std::string_view name() const override { return "scale"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    Tensor grad_input = overwritable(grad_output);
    grad_output.backend().scale(grad_output, factor_, grad_input);
    return {grad_input};
  }

 private:
  double factor_;
};

}  // namespace

Variable scale(const Variable& input, double factor) {
  detail::check_operands("scale", {input});
  Tensor output = Tensor::empty_like(input.tensor());
  input.backend().scale(input.tensor(), factor, output);
  return record(std::move(output), {input}, [&] { return std::make_shared<ScaleBackward>(factor); });
}

}  // namespace normtune
