#include "autograd/dropout.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// The output is the input times a constant mask, so the gradient is the gradient of the output times the
/// same mask.
class DropoutBackward : public Node {
 public:
  explicit DropoutBackward(const DropoutMask& mask) : mask_(mask) {}
  std::string_view name() const override { return "dropout"; }
  std::vector<Tensor*> saved_tensors() override { return {&mask_.example_ids, &mask_.positions}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    Tensor grad_input = overwritable(grad_output);
    grad_output.backend().dropout(grad_output, mask_, grad_input);
    return {grad_input};
  }

 private:
  DropoutMask mask_;
};

}  // namespace

Variable dropout(const Variable& input, const DropoutMask& mask) {
  detail::check_operands("dropout", {input});
  detail::check_rank("dropout", "input", input.shape(), 2);
  detail::check_dropout_mask("dropout", mask, input.size(0), input.device());
  if (!mask.active()) return input;
  Tensor output = Tensor::empty_like(input.tensor());
  input.backend().dropout(input.tensor(), mask, output);
  return record(std::move(output), {input}, [&] { return std::make_shared<DropoutBackward>(mask); });
}

}  // namespace normtune
