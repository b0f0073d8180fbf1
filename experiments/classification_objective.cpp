#include "experiments/classification_objective.h"

#include <numeric>

#include "autograd/cross_entropy_loss.h"
#include "autograd/mse_loss.h"
#include "experiments/step_work.h"

namespace normtune {

TrainingBatch ClassificationObjective::batch(Bert& model, const UpdateExamples& update,
                                             std::span<const int64_t> indices, const BatchForm& form) const {
  const std::vector<int64_t> lengths = data_.lengths(indices);
  return {.packed = data_.batch(indices, form.device, form.padding),
          .targets = {data_.labels(indices, model.dtype(), form.device)},
          .scales = {1.0 / static_cast<double>(update.indices.size())},
          .num_tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0}),
          .flops = needed_step_flops(model, lengths)};
}

Variable ClassificationObjective::loss(Bert& model, const TrainingBatch& batch,
                                       const ForwardContext& context) const {
  const Variable logits = model.classify(batch.packed, context);
  const auto loss_of = data_.regression() ? mse_loss : cross_entropy_loss;
  return loss_of(logits, batch.targets[0], batch.scales[0]);
}

}  // namespace normtune
