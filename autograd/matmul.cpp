#include "autograd/matmul.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// For C = op(a) op(b) the gradients are  grad_op(a) = dC op(b)^T  and  grad_op(b) = op(a)^T dC.  Where op
/// transposes, the whole formula is transposed:
///   grad_a = dC op(b)^T,  or  op(b) dC^T;     grad_b = op(a)^T dC,  or  dC^T op(a).
class MatMulBackward : public Node {
 public:
  MatMulBackward(bool transpose_a, bool transpose_b, DType a_dtype, DType b_dtype)
      : transpose_a_(transpose_a), transpose_b_(transpose_b), a_dtype_(a_dtype), b_dtype_(b_dtype) {}
  std::string_view name() const override { return "matmul"; }
  std::vector<Tensor*> saved_tensors() override { return {&a, &b}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    const int64_t m = grad_output.size(0), n = grad_output.size(1);
    std::vector<Tensor> grads(2);
    if (needs_input_grad(0)) {
      const int64_t k = b.size(transpose_b_ ? 1 : 0);
      grads[0] = Tensor::empty(transpose_a_ ? Shape{k, m} : Shape{m, k}, a_dtype_, grad_output.device());
      if (transpose_a_) {
        multiply(b, transpose_b_, grad_output, true, grads[0]);
      } else {
        multiply(grad_output, false, b, !transpose_b_, grads[0]);
      }
    }
    if (needs_input_grad(1)) {
      const int64_t k = a.size(transpose_a_ ? 0 : 1);
      grads[1] = Tensor::empty(transpose_b_ ? Shape{n, k} : Shape{k, n}, b_dtype_, grad_output.device());
      if (transpose_b_) {
        multiply(grad_output, true, a, transpose_a_, grads[1]);
      } else {
        multiply(a, !transpose_a_, grad_output, false, grads[1]);
      }
    }
    return grads;
  }

  Tensor a, b;

 private:
  static void multiply(const Tensor& left, bool transpose_left, const Tensor& right, bool transpose_right,
                       const Tensor& output) {
    left.backend().matmul(
        {.a = left, .transpose_a = transpose_left, .b = right, .transpose_b = transpose_right, .c = output});
  }

  bool transpose_a_, transpose_b_;
  DType a_dtype_, b_dtype_;
};

}  // namespace

Variable matmul(const Variable& a, const Variable& b, bool transpose_a, bool transpose_b) {
  if (b.defined() && b.dtype() == DType::float32) {
    detail::check_operands("matmul", {a}, {b});  // a may be an activation in bfloat16
  } else {
    detail::check_operands("matmul", {a, b});
  }
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
    auto node = std::make_shared<MatMulBackward>(transpose_a, transpose_b, a.dtype(), b.dtype());
    if (a.requires_grad()) node->b = b.tensor();
    if (b.requires_grad()) node->a = a.tensor();
    return node;
  });
}

}  // namespace normtune
