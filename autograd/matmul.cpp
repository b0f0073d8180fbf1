#include "autograd/matmul.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// For C = op(a) op(b) the gradients are  grad_op(a) = dC op(b)^T  and  grad_op(b) = op(a)^T dC.  Where op
/// transposes, the whole formula is transposed:
///   grad_a = dC op(b)^T,  or  op(b) dC^T;     grad_b = op(a)^T dC,  or  dC^T op(a).
class MatMulBackward : public Node {
 public:
  MatMulBackward(bool transpose_a, bool transpose_b) : transpose_a_(transpose_a), transpose_b_(transpose_b) {}
  std::string_view name() const override { return "matmul"; }
  std::vector<Tensor*> saved_tensors() override { return {&a, &b}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    const int64_t m = grad_output.size(0), n = grad_output.size(1);
    std::vector<Tensor> grads(2);
    if (needs_input_grad(0)) {
      const int64_t k = b.size(transpose_b_ ? 1 : 0);
      grads[0] = transpose_a_ ? product(b, transpose_b_, grad_output, true, {k, m})
                              : product(grad_output, false, b, !transpose_b_, {m, k});
    }
    if (needs_input_grad(1)) {
      const int64_t k = a.size(transpose_a_ ? 0 : 1);
      grads[1] = transpose_b_ ? product(grad_output, true, a, transpose_a_, {n, k})
                              : product(a, !transpose_a_, grad_output, false, {k, n});
    }
    return grads;
  }

  Tensor a, b;

 private:
  static Tensor product(const Tensor& left, bool transpose_left, const Tensor& right, bool transpose_right,
                        const Shape& shape) {
    Tensor output = Tensor::empty(shape, left.dtype(), left.device());
    left.backend().matmul(
        {.a = left, .transpose_a = transpose_left, .b = right, .transpose_b = transpose_right, .c = output});
    return output;
  }

  bool transpose_a_, transpose_b_;
};

}  // namespace

Variable matmul(const Variable& a, const Variable& b, bool transpose_a, bool transpose_b) {
  detail::check_operands("matmul", {a, b});
  detail::check_rank("matmul", "a", a.shape(), 2);
  detail::check_rank("matmul", "b", b.shape(), 2);
  const int64_t m = a.size(transpose_a ? 1 : 0), k = a.size(transpose_a ? 0 : 1);
  const int64_t n = b.size(transpose_b ? 0 : 1);
  detail::check_shape("matmul", "b", b.shape(), transpose_b ? Shape{n, k} : Shape{k, n});
  Tensor output = Tensor::empty({m, n}, a.dtype(), a.device());
  a.backend().matmul({.a = a.tensor(),
                      .transpose_a = transpose_a,
                      .b = b.tensor(),
                      .transpose_b = transpose_b,
                      .c = output});
  return record(std::move(output), {a, b}, [&] {
    auto node = std::make_shared<MatMulBackward>(transpose_a, transpose_b);
    if (a.requires_grad()) node->b = b.tensor();
    if (b.requires_grad()) node->a = a.tensor();
    return node;
  });
}

}  // namespace normtune
