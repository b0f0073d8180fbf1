#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <vector>

#include "experiments/dataset.h"
#include "experiments/metrics.h"
#include "experiments/task.h"
#include "experiments/tokenized_dataset.h"
#include "nn/bert.h"

namespace normtune {

/// A data set that a model is asked about.
struct EvaluationSplit {
  Dataset dataset;
  TokenizedDataset tokens;  ///< of `dataset`
};

/// Is told how many examples are done; returns false to stop.
using EvaluationProgress = std::function<bool(int64_t num_done)>;

/// The model's logits for every example in the order of the data set, [examples * num_labels]. Sequences of a
/// batch do not see each other, so the batch size changes rounding at most. Nothing if `progress` stopped it.
std::optional<std::vector<double>> compute_logits(const Bert& model, const TokenizedDataset& data,
                                                  int64_t batch_size,
                                                  const EvaluationProgress& progress = {});

/// Throws Error(numeric) that names file and example if a logit is not finite.
void check_finite(const Dataset& dataset, std::span<const double> logits);

/// The mean over the examples of cross-entropy (of the squared error for a regression), in double precision.
/// NaN if an example has no label.
double mean_loss(const Dataset& dataset, std::span<const double> logits);

/// What a model scores on the splits of a task.
struct Evaluation {
  Metrics metrics;                          ///< of all splits
  std::vector<double> losses;               ///< per split, see mean_loss
  std::vector<std::vector<double>> logits;  ///< per split
  double seconds = 0;
};

/// Nothing if `progress` stopped it.
std::optional<Evaluation> evaluate(const Bert& model, const Task& task,
                                   std::span<const EvaluationSplit> splits, int64_t batch_size,
                                   const EvaluationProgress& progress = {});

/// The flat keys that results, logs and `normtune evaluate` share: eval_loss, eval_<metric>, eval_samples
/// (each with the suffix of its split: eval_loss_mm), eval_runtime and the rates. A score without a value and
/// a loss that is not finite are null.
nlohmann::ordered_json evaluation_results(std::span<const EvaluationSplit> splits,
                                          const Evaluation& evaluation, int64_t batch_size);

}  // namespace normtune
