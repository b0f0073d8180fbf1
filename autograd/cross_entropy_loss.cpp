#include "autograd/cross_entropy_loss.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// d loss / d logits[i, j] = scale * (softmax(logits[i])[j] - [j == labels[i]]), made in the forward pass.
class CrossEntropyLossBackward : public Node {
 public:
  std::string_view name() const override { return "cross_entropy_loss"; }
  std::vector<Tensor*> saved_tensors() override { return {&grad_logits}; }

  std::vector<Tensor> backward(Tensor grad_output) override {
    grad_logits.backend().scale_by(grad_logits, grad_output, grad_logits);
    return {grad_logits};
  }

  Tensor grad_logits;
};

}  // namespace

Variable cross_entropy_loss(const Variable& logits, const Tensor& labels, double scale) {
  constexpr std::string_view op = "cross_entropy_loss";
  detail::check_operands(op, {logits});
  detail::check_rank(op, "logits", logits.shape(), 2);
  detail::check_index(op, "labels", labels, logits.device(), logits.size(0), -1, logits.size(1));
  const Tensor loss = Tensor::empty({}, logits.dtype(), logits.device());
  const bool keep = needs_recording(std::vector{logits});
  Tensor grad_logits = keep ? Tensor::empty_like(logits.tensor()) : Tensor();
  logits.backend().cross_entropy({.logits = logits.tensor(),
                                  .labels = labels,
                                  .scale = scale,
                                  .loss = loss,
                                  .grad_logits = keep ? &grad_logits : nullptr});
  return record(loss, {logits}, [&] {
    auto node = std::make_shared<CrossEntropyLossBackward>();
    node->grad_logits = std::move(grad_logits);
    return node;
  });
}

}  // namespace normtune
