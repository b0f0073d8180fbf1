#include "autograd/variable.h"

#include <stdexcept>

namespace normtune {

Tensor& AutogradMeta::whole_grad() {
  if (row_grad.defined()) grad = std::exchange(row_grad, RowGradient()).dense();
  return grad;
}

Variable::Variable(Tensor value, bool requires_grad) {
  check(value.defined(), "variable: expected a tensor, found an undefined one");
  check(!requires_grad || is_floating(value.dtype()),
        "variable: only floating-point tensors have a gradient, found {}", to_string(value.dtype()));
  impl_ = std::make_shared<Impl>();
  impl_->value = std::move(value);
  impl_->meta = std::make_shared<AutogradMeta>();
  impl_->meta->requires_grad = requires_grad;
}

void Variable::set_requires_grad(bool requires_grad) {
  if (!is_leaf()) throw std::logic_error("set_requires_grad: expected a leaf, found the result of an op");
  check(!requires_grad || is_floating(dtype()),
        "set_requires_grad: only floating-point tensors have a gradient, found {}", to_string(dtype()));
  impl_->meta->requires_grad = requires_grad;
}

void Variable::set_tensor(Tensor value) {
  if (!is_leaf()) throw std::logic_error("set_tensor: expected a leaf, found the result of an op");
  check(value.shape() == shape(), "set_tensor: expected shape {}, found {}", shape(), value.shape());
  impl_->value = std::move(value);
  impl_->rounded_copy = Tensor();
}

void Variable::keep_rounded_copy(Tensor copy) {
  if (copy.defined()) {
    check(copy.shape() == shape() && copy.dtype() == DType::bfloat16,
          "keep_rounded_copy: expected bfloat16 {}, found {} {}", shape(), to_string(copy.dtype()),
          copy.shape());
  }
  impl_->rounded_copy = std::move(copy);
}

}  // namespace normtune
