#include "autograd/add.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// d loss / d a = d loss / d b = grad_output.
class AddBackward : public Node {
 public:
  std::string_view name() const override { return "add"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }
  std::vector<Tensor> backward(Tensor grad_output) override {
    std::vector<Tensor> grads(2);
    for (size_t i = 0; i < 2; ++i) {
      if (needs_input_grad(i)) grads[i] = grad_output;
    }
    return grads;
  }
};

}  // namespace

Variable add(const Variable& a, const Variable& b) {
  detail::check_operands("add", {a, b});
  detail::check_shape("add", "b", b.shape(), a.shape());
  Tensor output = Tensor::empty_like(a.tensor());
  a.backend().add(a.tensor(), b.tensor(), output);
  return record(std::move(output), {a, b}, [] { return std::make_shared<AddBackward>(); });
}

}  // namespace normtune
