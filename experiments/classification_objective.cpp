#include "experiments/classification_objective.h"

#include "autograd/cross_entropy_loss.h"
#include "autograd/mse_loss.h"
#include "experiments/step_work.h"

namespace normtune {

BatchLoss ClassificationObjective::loss(Bert& model, const UpdateExamples& update,
                                        std::span<const int64_t> batch, const ForwardContext& context) const {
  const double scale = 1.0 / static_cast<double>(update.indices.size());
  const PackedBatch packed = data_.batch(batch, model.device());
  const Variable logits = model.classify(packed, context);
  const Tensor labels = data_.labels(batch, logits.dtype(), logits.device());
  return {.loss = data_.regression() ? mse_loss(logits, labels, scale)
                                     : cross_entropy_loss(logits, labels, scale),
          .num_tokens = packed.total_tokens,
          .flops = needed_step_flops(model, data_.lengths(batch))};
}

}  // namespace normtune
