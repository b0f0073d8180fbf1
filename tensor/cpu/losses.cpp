#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"

namespace normtune {
namespace {

/// The loss of one row; `probs` becomes its gradient.
template <typename T>
double cross_entropy_row(const T* logits, int32_t label, int64_t num_classes, T scale, T* probs) {
  const auto& loops = vector::loops<T>();
  const vector::LogSumExp log_sum_exp = loops.softmax(logits, T(1), probs, num_classes);
  probs[label] -= T(1);
  loops.scale(probs, scale, probs, num_classes);
  return log_sum_exp.log_sum + (log_sum_exp.max - static_cast<double>(logits[label]));
}

template <typename T>
void cross_entropy_rows(const Backend::CrossEntropy& args) {
  const int64_t num_rows = args.logits.size(0), num_classes = args.logits.size(1);
  // Without a wanted gradient its place is scratch.
  const Tensor scratch = args.grad_logits == nullptr ? Tensor::empty(args.logits.shape(), args.logits.dtype())
                                                     : *args.grad_logits;
  const T* logits = args.logits.data<T>();
  const int32_t* labels = args.labels.data<int32_t>();
  T* grad_logits = scratch.data<T>();
  std::vector<double> row_loss(static_cast<size_t>(num_rows), 0.0);
  parallel_rows(num_rows, num_classes, [&](int64_t row) {
    T* grad_row = grad_logits + row * num_classes;
    if (labels[row] < 0) {
      std::fill(grad_row, grad_row + num_classes, T(0));
      return;
    }
    row_loss[static_cast<size_t>(row)] = cross_entropy_row(logits + row * num_classes, labels[row],
                                                           num_classes, static_cast<T>(args.scale), grad_row);
  });
  double total = 0;
  for (double loss : row_loss) total += loss;
  args.loss.data<T>()[0] = static_cast<T>(total * args.scale);
}

template <typename T>
void squared_error_rows(const Backend::SquaredError& args) {
  const T *predictions = args.predictions.data<T>(), *targets = args.targets.data<T>();
  T* grad = args.grad_predictions == nullptr ? nullptr : args.grad_predictions->data<T>();
  double total = 0;
  for (int64_t i = 0; i < args.predictions.numel(); ++i) {
    const double difference = static_cast<double>(predictions[i]) - static_cast<double>(targets[i]);
    total += difference * difference;
    if (grad != nullptr) grad[i] = static_cast<T>(2 * difference * args.scale);
  }
  args.loss.data<T>()[0] = static_cast<T>(total * args.scale);
}

}  // namespace

void CpuBackend::cross_entropy(const CrossEntropy& args) {
  dispatch_floating(args.logits.dtype(), [&]<typename T>() { cross_entropy_rows<T>(args); });
}

void CpuBackend::squared_error(const SquaredError& args) {
  dispatch_floating(args.predictions.dtype(), [&]<typename T>() { squared_error_rows<T>(args); });
}

}  // namespace normtune
