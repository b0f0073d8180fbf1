#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "experiments/dataset.h"
#include "experiments/task.h"

namespace normtune {

/// Scores by name, in the order of formats: a score that is not defined (constant predictions) has no value.
struct Metrics {
  std::vector<std::pair<std::string, std::optional<double>>> values;
  /// The score of always answering the most frequent class, by the task's headline metric; none for
  /// regression.
  std::optional<double> majority_score;
  /// Constant predictions, or the headline score of the majority class.
  bool degenerate = false;
};

/// Share of equal entries.
double accuracy(std::span<const int32_t> predictions, std::span<const int32_t> labels);

/// F1 of one class: 2 TP / (2 TP + FP + FN); 0 where the denominator is 0.
double f1_score(std::span<const int32_t> predictions, std::span<const int32_t> labels,
                int32_t positive_class);

/// Unweighted mean of f1_score over the classes that occur in `predictions` or `labels`.
double macro_f1_score(std::span<const int32_t> predictions, std::span<const int32_t> labels,
                      int64_t num_classes);

/// Matthews correlation of any number of classes (Gorodkin 2004); for two of them
///   (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN)).
/// 0 where a factor of the denominator is 0.
double matthews_correlation(std::span<const int32_t> predictions, std::span<const int32_t> labels);

/// Pearson correlation, two passes in double. None for fewer than two values or where one side is constant.
std::optional<double> pearson(std::span<const double> x, std::span<const double> y);

/// Pearson correlation of the ranks; ties get their mean rank.
std::optional<double> spearman(std::span<const double> x, std::span<const double> y);

/// The class of the largest logit in each row; the lowest index wins a tie.
/// logits  [rows, num_classes]
/// Throws Error(numeric) that names the first row with a value that is not finite.
std::vector<int32_t> argmax_rows(std::span<const double> logits, int64_t num_classes);

/// Throws Error(usage) if the split has no labels.
void require_labels(const Task& task, const Dataset& dataset);

/// The task's scores over a whole split. Keys of MNLI's mismatched split end in `_mm`.
/// logits  [examples, num_labels]
/// Throws Error(usage) if the split has no labels.
Metrics compute_metrics(const Task& task, const Dataset& dataset, std::span<const double> logits);

/// `_mm` for MNLI's mismatched splits, else empty: what keys of such a split (eval_loss too) end in.
std::string metric_suffix(const Dataset& dataset);

/// The scores of several splits in one list; degenerate if one of them is.
Metrics merge_metrics(const std::vector<Metrics>& parts);

/// The score that tables, grids and the choice of the best model use. `metric` is a key of `metrics` (with or
/// without `eval_`) or `mean_accuracy`, the mean of `accuracy` and `accuracy_mm` where both are there; empty:
/// the task's default. None for an undefined score, which counts as the worst.
/// Throws Error(usage) that names the nearest metric.
std::optional<double> headline_score(const Task& task, const Metrics& metrics,
                                     const std::string& metric = "");

}  // namespace normtune
