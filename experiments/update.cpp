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

/// On the host, where the values of frozen weights may be.
std::string first_nonfinite_parameter(const Bert& model) {
  std::vector<NamedTensor> values;
  for (const Parameter& parameter : model.parameters()) {
    values.push_back({parameter.name, parameter.variable.tensor().to(Device{})});
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

[[noreturn]] void fail_at_gradient(std::string_view tensor, std::span<const int64_t> examples,
                                   int64_t update) {
  fail(ErrorKind::numeric, "step {}: the gradient of tensor '{}' is not finite, on {}; {}", update + 1,
       tensor, name_examples(examples), numeric_advice);
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

/// The place of the first number that is not finite; of the largest, where their sum alone is not.
size_t place_to_blame(const Tensor& squared_norms) {
  const std::vector<double> squares = squared_norms.to_vector<double>();
  const auto found = std::ranges::find_if_not(squares, [](double square) { return std::isfinite(square); });
  const auto place = found == squares.end() ? std::ranges::max_element(squares) : found;
  return static_cast<size_t>(place - squares.begin());
}

/// Scalars as one tensor [number of scalars].
Tensor side_by_side(const std::vector<Tensor>& scalars) {
  const Tensor& first = scalars.front();
  if (scalars.size() == 1) return first.reshape({1});
  Tensor all = Tensor::empty({std::ssize(scalars)}, first.dtype(), first.device());
  for (int64_t i = 0; i < std::ssize(scalars); ++i) {
    all.slice(i, i + 1).copy_from(scalars[static_cast<size_t>(i)].reshape({1}));
  }
  return all;
}

/// Forward and backward of each batch, launched kernel by kernel; [number of batches] their losses.
Tensor launch_batches(Bert& model, const TrainingObjective& objective, const UpdateExamples& update,
                      const std::vector<std::span<const int64_t>>& batches, const ForwardContext& context,
                      UpdateResult& work) {
  std::vector<Tensor> losses;
  for (const std::span<const int64_t> indices : batches) {
    const TrainingBatch batch = objective.batch(model, update, indices, {.device = model.device()});
    note_work(batch, work);
    const Variable share = objective.loss(model, batch, context);
    share.backward();
    losses.push_back(share.tensor());
  }
  return side_by_side(losses);
}

}  // namespace

EnqueuedUpdate enqueue_update(Bert& model, const TrainingObjective& objective, Optimizer& optimizer,
                              const UpdateExamples& update, double lr, const UpdateSettings& settings,
                              CapturedSteps* captured) {
  const ForwardContext context{
      .training = true, .dropout_seed = settings.dropout_seed, .step = update.update};
  const auto batches = cut_into_batches(update.indices, settings.batch_size);
  UpdateResult work;
  UpdateNumbers numbers;
  optimizer.zero_grad();
  optimizer.begin_step(lr);
  if (captured != nullptr && captured->are_on()) {
    const auto make_batch = [&](int64_t i) {
      TrainingBatch batch =
          objective.batch(model, update, batches[static_cast<size_t>(i)], {.padding = Padding::to_bucket});
      note_work(batch, work);
      return batch;
    };
    numbers = captured->run(std::ssize(batches), make_batch, context, settings.max_grad_norm);
  } else {
    const Tensor losses = launch_batches(model, objective, update, batches, context, work);
    numbers = clip_and_move(optimizer, losses, settings.max_grad_norm);
  }
  return {model, update, settings.batch_size, numbers, work};
}

EnqueuedUpdate::EnqueuedUpdate(const Bert& model, const UpdateExamples& update, int64_t batch_size,
                               const UpdateNumbers& numbers, const UpdateResult& work)
    : model_(&model),
      numbers_({numbers.losses, numbers.squared_norms}),
      names_(numbers.names),
      examples_(update.indices.begin(), update.indices.end()),
      batch_size_(batch_size),
      update_(update.update),
      work_(work) {}

UpdateResult EnqueuedUpdate::finish() const {
  const std::vector<Tensor> numbers = numbers_.wait();
  const std::vector<double> losses = numbers[0].to(DType::float64).to_vector<double>();
  const auto batches = cut_into_batches(examples_, batch_size_);
  UpdateResult result = work_;
  for (size_t i = 0; i < losses.size(); ++i) {
    if (!std::isfinite(losses[i])) fail_at_loss(*model_, losses[i], batches[i], update_);
    result.loss += losses[i];
  }
  result.gradient_norm = norm_of_parts(numbers[1]);
  if (!std::isfinite(result.gradient_norm)) {
    fail_at_gradient(names_[place_to_blame(numbers[1])], examples_, update_);
  }
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
