#include "autograd/multiply.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// grad_a = grad_output * b,   grad_b = grad_output * a.
class MultiplyBackward : public Node {
 public:
  std::string_view name() const override { return "multiply"; }
  std::vector<Tensor*> saved_tensors() override { return {&a, &b}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    std::vector<Tensor> grads(2);
    if (needs_input_grad(0)) grads[0] = product(grad_output, b);
    if (needs_input_grad(1)) grads[1] = product(grad_output, a);
    return grads;
  }

  Tensor a, b;

 private:
  static Tensor product(const Tensor& x, const Tensor& y) {
    Tensor output = Tensor::empty_like(x);
    x.backend().multiply(x, y, output);
    return output;
  }
};

}  // namespace

Variable multiply(const Variable& a, const Variable& b) {
  detail::check_operands("multiply", {a, b});
  detail::check_shape("multiply", "b", b.shape(), a.shape());
  Tensor output = Tensor::empty_like(a.tensor());
  a.backend().multiply(a.tensor(), b.tensor(), output);
  return record(std::move(output), {a, b}, [&] {
    auto node = std::make_shared<MultiplyBackward>();
    if (a.requires_grad()) node->b = b.tensor();
    if (b.requires_grad()) node->a = a.tensor();
    return node;
  });
}

}  // namespace normtune
