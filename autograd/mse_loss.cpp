#include "autograd/mse_loss.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// d loss / d predictions[i] = 2 * scale * (predictions[i] - targets[i]), made in the forward pass.
class MseLossBackward : public Node {
 public:
  std::string_view name() const override { return "mse_loss"; }
  std::vector<Tensor*> saved_tensors() override { return {&grad_predictions}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    grad_predictions.backend().scale_by(grad_predictions, grad_output, grad_predictions);
    return {grad_predictions};
  }

  Tensor grad_predictions;  // in the shape of predictions
};

}  // namespace

Variable mse_loss(const Variable& predictions, const Tensor& targets, double scale) {
  constexpr std::string_view op = "mse_loss";
  detail::check_operands(op, {predictions, targets.defined() ? Variable(targets) : Variable()});
  detail::check_rank(op, "targets", targets.shape(), 1);
  const int64_t n = targets.size(0);
  check(predictions.shape() == Shape{n} || predictions.shape() == Shape{n, 1},
        "{}: expected predictions of shape [{}] or [{}, 1], found {}", op, n, n, predictions.shape());
  const Tensor loss = Tensor::empty({}, predictions.dtype(), predictions.device());
  const bool keep = needs_recording(std::vector{predictions});
  Tensor grad_predictions = keep ? Tensor::empty({n}, loss.dtype(), loss.device()) : Tensor();
  predictions.backend().squared_error({.predictions = predictions.tensor().reshape({n}),
                                       .targets = targets,
                                       .scale = scale,
                                       .loss = loss,
                                       .grad_predictions = keep ? &grad_predictions : nullptr});
  return record(loss, {predictions}, [&] {
    auto node = std::make_shared<MseLossBackward>();
    node->grad_predictions = grad_predictions.reshape(predictions.shape());
    return node;
  });
}

}  // namespace normtune
