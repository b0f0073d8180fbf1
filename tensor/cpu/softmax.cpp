#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"

namespace normtune {

void CpuBackend::softmax_forward(const Tensor& input, const Tensor& output) {
  const int64_t columns = input.shape().back();
  if (columns == 0) return;
  dispatch_floating(input.dtype(), [&]<typename T>() {
    const T* logits = input.data<T>();
    T* probs = output.data<T>();
    const auto& loops = vector::loops<T>();
    parallel_rows(input.numel() / columns, columns, [&](int64_t row) {
      loops.softmax(logits + row * columns, T(1), probs + row * columns, columns);
    });
  });
}

void CpuBackend::softmax_backward(const Tensor& output, const Tensor& grad_output, const Tensor& grad_input) {
  const int64_t columns = output.shape().back();
  if (columns == 0) return;
  dispatch_floating(output.dtype(), [&]<typename T>() {
    const T *probs = output.data<T>(), *grad_probs = grad_output.data<T>();
    T* grad_logits = grad_input.data<T>();
    const auto& loops = vector::loops<T>();
    parallel_rows(output.numel() / columns, columns, [&](int64_t row) {
      const int64_t at = row * columns;
      loops.softmax_backward(probs + at, grad_probs + at, T(1), grad_logits + at, columns);
    });
  });
}

}  // namespace normtune
