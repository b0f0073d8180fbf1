#include "experiments/evaluation.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "experiments/json_values.h"
#include "tensor/copies_on_host.h"
#include "tensor/error.h"

namespace normtune {

namespace {

/// -log softmax(logits)[label], with the largest logit subtracted first.
double cross_entropy(std::span<const double> logits, int32_t label) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  return std::log(sum) + largest - logits[static_cast<size_t>(label)];
}

double example_loss(const Dataset& dataset, size_t index, std::span<const double> logits) {
  const Example& example = dataset.examples[index];
  if (dataset.regression) return (logits[0] - example.target) * (logits[0] - example.target);
  if (example.label < 0) return std::numeric_limits<double>::quiet_NaN();
  return cross_entropy(logits, example.label);
}

}  // namespace

std::optional<std::vector<double>> compute_logits(const Bert& model, const TokenizedDataset& data,
                                                  int64_t batch_size, const EvaluationProgress& progress) {
  const NoGradGuard no_grad;
  const auto held = model.hold_frozen_weights();
  std::vector<double> logits;
  std::optional<CopiesOnHost> pending;  // the logits of the last batch, read when the next is enqueued
  const auto read_pending = [&] {
    if (!pending) return;
    const std::vector<double> rows = pending->wait()[0].to(DType::float64).to_vector<double>();
    logits.insert(logits.end(), rows.begin(), rows.end());
  };
  std::vector<int64_t> indices;
  for (int64_t begin = 0; begin < data.size(); begin += batch_size) {
    if (progress && !progress(begin)) return std::nullopt;
    indices.resize(static_cast<size_t>(std::min(batch_size, data.size() - begin)));
    std::iota(indices.begin(), indices.end(), begin);
    const Variable output = model.classify(data.batch(indices, model.device()), {.training = false});
    CopiesOnHost copies({output.tensor()});
    read_pending();
    pending = std::move(copies);
  }
  read_pending();
  return logits;
}

void check_finite(const Dataset& dataset, std::span<const double> logits) {
  const auto bad =
      std::find_if(logits.begin(), logits.end(), [](double value) { return !std::isfinite(value); });
  if (bad == logits.end()) return;
  const size_t num_labels = logits.size() / dataset.examples.size();
  const auto row = static_cast<size_t>(bad - logits.begin()) / num_labels;
  fail(
      ErrorKind::numeric,
      "{}: example {}: expected finite logits, found {}; the model's weights hold values that are not finite "
      "or too large",
      dataset.files.at(0).string(), dataset.examples[row].idx, std::abs(*bad));
}

double mean_loss(const Dataset& dataset, std::span<const double> logits) {
  const size_t num_examples = dataset.examples.size();
  const size_t num_labels = logits.size() / num_examples;
  double sum = 0;
  for (size_t i = 0; i < num_examples; ++i) {
    sum += example_loss(dataset, i, logits.subspan(i * num_labels, num_labels));
  }
  return sum / static_cast<double>(num_examples);
}

std::optional<Evaluation> evaluate(const Bert& model, const Task& task,
                                   std::span<const EvaluationSplit> splits, int64_t batch_size,
                                   const EvaluationProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  Evaluation evaluation;
  std::vector<Metrics> metrics;
  int64_t num_done = 0;  // examples of the splits before
  for (const EvaluationSplit& split : splits) {
    std::optional<std::vector<double>> logits =
        compute_logits(model, split.tokens, batch_size,
                       [&](int64_t done) { return !progress || progress(num_done + done); });
    if (!logits) return std::nullopt;
    check_finite(split.dataset, *logits);
    evaluation.losses.push_back(mean_loss(split.dataset, *logits));
    metrics.push_back(compute_metrics(task, split.dataset, *logits));
    evaluation.logits.push_back(std::move(*logits));
    num_done += split.tokens.size();
  }
  evaluation.metrics = merge_metrics(metrics);
  evaluation.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return evaluation;
}

nlohmann::ordered_json evaluation_results(std::span<const EvaluationSplit> splits,
                                          const Evaluation& evaluation, int64_t batch_size) {
  nlohmann::ordered_json results;
  int64_t num_examples = 0, num_batches = 0;
  for (size_t i = 0; i < splits.size(); ++i) {
    const int64_t size = splits[i].tokens.size();
    results["eval_loss" + metric_suffix(splits[i].dataset)] = finite_or_null(evaluation.losses[i]);
    results["eval_samples" + metric_suffix(splits[i].dataset)] = size;
    num_examples += size;
    num_batches += (size + batch_size - 1) / batch_size;
  }
  for (const auto& [name, value] : evaluation.metrics.values) {
    results["eval_" + name] = finite_or_null(value);
  }
  results["eval_runtime"] = evaluation.seconds;
  results["eval_samples_per_second"] = static_cast<double>(num_examples) / evaluation.seconds;
  results["eval_steps_per_second"] = static_cast<double>(num_batches) / evaluation.seconds;
  return results;
}

}  // namespace normtune
