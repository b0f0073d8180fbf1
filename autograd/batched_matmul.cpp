#include "autograd/batched_matmul.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// The gradients of matmul, for each leading index:
///   grad_a = dC op(b)^T,  or  op(b) dC^T  if a is transposed;
///   grad_b = op(a)^T dC,  or  dC^T op(a)  if b is transposed.
class BatchedMatMulBackward : public Node {
 public:
  BatchedMatMulBackward(bool transpose_a, bool transpose_b)
      : transpose_a_(transpose_a), transpose_b_(transpose_b) {}
  std::string_view name() const override { return "batched_matmul"; }
  std::vector<Tensor*> saved_tensors() override { return {&a, &b}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    const int64_t batch = grad_output.size(0), m = grad_output.size(1), n = grad_output.size(2);
    std::vector<Tensor> grads(2);
    if (needs_input_grad(0)) {
      const int64_t k = b.size(transpose_b_ ? 2 : 1);
      grads[0] = transpose_a_ ? product(b, transpose_b_, grad_output, true, {batch, k, m})
                              : product(grad_output, false, b, !transpose_b_, {batch, m, k});
    }
    if (needs_input_grad(1)) {
      const int64_t k = a.size(transpose_a_ ? 1 : 2);
      grads[1] = transpose_b_ ? product(grad_output, true, a, transpose_a_, {batch, n, k})
                              : product(a, !transpose_a_, grad_output, false, {batch, k, n});
    }
    return grads;
  }

  Tensor a, b;

 private:
  static Tensor product(const Tensor& left, bool transpose_left, const Tensor& right, bool transpose_right,
                        const Shape& shape) {
    Tensor output = Tensor::empty(shape, left.dtype(), left.device());
    left.backend().batched_matmul(
        {.a = left, .transpose_a = transpose_left, .b = right, .transpose_b = transpose_right, .c = output});
    return output;
  }

  bool transpose_a_, transpose_b_;
};

}  // namespace

Variable batched_matmul(const Variable& a, const Variable& b, bool transpose_a, bool transpose_b) {
  detail::check_operands("batched_matmul", {a, b});
  detail::check_rank("batched_matmul", "a", a.shape(), 3);
  detail::check_rank("batched_matmul", "b", b.shape(), 3);
  const int64_t batch = a.size(0), m = a.size(transpose_a ? 2 : 1), k = a.size(transpose_a ? 1 : 2);
  const int64_t n = b.size(transpose_b ? 1 : 2);
  detail::check_shape("batched_matmul", "b", b.shape(),
                      transpose_b ? Shape{batch, n, k} : Shape{batch, k, n});
  Tensor output = Tensor::empty({batch, m, n}, a.dtype(), a.device());
  a.backend().batched_matmul({.a = a.tensor(),
                              .transpose_a = transpose_a,
                              .b = b.tensor(),
                              .transpose_b = transpose_b,
                              .c = output});
  return record(std::move(output), {a, b}, [&] {
    auto node = std::make_shared<BatchedMatMulBackward>(transpose_a, transpose_b);
    if (a.requires_grad()) node->b = b.tensor();
    if (b.requires_grad()) node->a = a.tensor();
    return node;
  });
}

}  // namespace normtune
