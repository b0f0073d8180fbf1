#include "experiments/update.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace normtune {

namespace {

/// "examples 3, 17, 42 of the training rows (counted from 0)", not more than a screen line of them.
std::string name_examples(std::span<const int64_t> examples) {
  constexpr size_t most = 32;
  const auto shown = examples.first(std::min(most, examples.size()));
  const std::string rest =
      examples.size() > most ? fmt::format(" and {} more", examples.size() - most) : std::string();
  return fmt::format("training examples {}{} (counted from 0)", fmt::join(shown, ", "), rest);
}

constexpr const char* numeric_advice =
    "a smaller --learning_rate may help; checkpoints written before are good";

/// The name of the first tensor with a value that is not finite; empty if there is none.
std::string first_nonfinite(const std::vector<NamedTensor>& tensors) {
  if (tensors.empty()) return "";
  std::vector<Backend::NormInput> inputs;
  for (const NamedTensor& named : tensors) inputs.push_back({named.tensor});
  const std::vector<double> squares = tensors.front().tensor.backend().squared_norms(inputs);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!std::isfinite(squares[i])) return tensors[i].name;
  }
  return "";
}

std::string first_nonfinite_parameter(const Bert& model) {
  std::vector<NamedTensor> values;
  for (const Parameter& parameter : model.parameters()) {
    values.push_back({parameter.name, parameter.variable.tensor()});
  }
  return first_nonfinite(values);
}

[[noreturn]] void fail_at_loss(const Bert& model, double loss, std::span<const int64_t> examples,
                               int64_t update) {
  const std::string parameter = first_nonfinite_parameter(model);
  const std::string tensor =
      parameter.empty() ? "'logits' (all weights are finite)" : fmt::format("'{}'", parameter);
  // The sign of a NaN means nothing.
  fail(ErrorKind::numeric, "step {}: the loss is {}, tensor {} is not finite, on {}; {}", update + 1,
       std::abs(loss), tensor, name_examples(examples), numeric_advice);
}

[[noreturn]] void fail_at_gradient(const Optimizer& optimizer, std::span<const int64_t> examples,
                                   int64_t update) {
  fail(ErrorKind::numeric, "step {}: the gradient of tensor '{}' is not finite, on {}; {}", update + 1,
       optimizer.first_nonfinite_gradient(), name_examples(examples), numeric_advice);
}

std::vector<std::span<const int64_t>> cut_into_batches(std::span<const int64_t> examples,
                                                       int64_t batch_size) {
  std::vector<std::span<const int64_t>> batches;
  while (!examples.empty()) {
    const size_t count = std::min(static_cast<size_t>(batch_size), examples.size());
    batches.push_back(examples.first(count));
    examples = examples.subspan(count);
  }
  return batches;
}

void note_work(const TrainingBatch& batch, UpdateResult& result) {
  result.num_tokens += batch.num_tokens;
  result.flops += batch.flops;
}

}  // namespace

UpdateResult run_update(Bert& model, const TrainingObjective& objective, Optimizer& optimizer,
                        const UpdateExamples& update, double lr, const UpdateSettings& settings,
                        CapturedSteps* captured) {
  const ForwardContext context{
      .training = true, .dropout_seed = settings.dropout_seed, .step = update.update};
  const auto batches = cut_into_batches(update.indices, settings.batch_size);
  UpdateResult result;
  optimizer.zero_grad();
  std::vector<Tensor> to_read;  // the share of each batch in the loss, and the squares of the gradient's norm
  if (captured != nullptr && captured->are_on() && batches.size() == 1) {
    const TrainingBatch batch = objective.batch(model, update, batches[0], {.padding = Padding::to_bucket});
    note_work(batch, result);
    const CapturedSteps::Outputs outputs = captured->run(batch, context);
    to_read = {outputs.loss, outputs.squared_norms};
  } else {
    for (const std::span<const int64_t> indices : batches) {
      const TrainingBatch batch = objective.batch(model, update, indices, {.device = model.device()});
      note_work(batch, result);
      const Variable share = objective.loss(model, batch, context);
      share.backward();
      to_read.push_back(share.tensor());
    }
    to_read.push_back(optimizer.squared_gradient_norms());
  }
  // The one place in an update where the host waits for the device. All before and behind it is only
  // enqueued.
  const std::vector<Tensor> on_host = copies_on_host(to_read);
  for (size_t i = 0; i < batches.size(); ++i) {
    const double share = on_host[i].item();
    if (!std::isfinite(share)) fail_at_loss(model, share, batches[i], update.update);
    result.loss += share;
  }
  result.gradient_norm = norm_of_parts(on_host.back());
  if (!std::isfinite(result.gradient_norm)) fail_at_gradient(optimizer, update.indices, update.update);
  const double clip = settings.max_grad_norm > 0
                          ? std::min(1.0, settings.max_grad_norm / (result.gradient_norm + 1e-6))
                          : 1.0;
  optimizer.step(lr, clip);
  optimizer.zero_grad();
  return result;
}

void check_trained_values(const Optimizer& optimizer, int64_t step) {
  std::vector<NamedTensor> values;
  for (const TrainableTensor& trainable : optimizer.tensors()) {
    values.push_back({trainable.name, trainable.variable.tensor()});
  }
  const std::string bad = first_nonfinite(values);
  if (bad.empty()) return;
  fail(ErrorKind::numeric, "step {}: the update left tensor '{}' with values that are not finite; {}", step,
       bad, numeric_advice);
}

}  // namespace normtune
