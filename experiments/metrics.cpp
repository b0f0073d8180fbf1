#include "experiments/metrics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "experiments/nearest_name.h"
#include "tensor/error.h"

namespace normtune {
namespace {

using Classes = std::span<const int32_t>;
using Values = std::span<const double>;
using Scores = std::vector<std::pair<std::string, std::optional<double>>>;

void check_sizes(size_t predictions, size_t labels) {
  check(predictions == labels && labels > 0,
        "metrics: expected as many predictions as labels, found {} and {}", predictions, labels);
}

bool all_equal(const auto& values) {
  return std::all_of(values.begin(), values.end(), [&](auto value) { return value == values[0]; });
}

/// Ranks from 1; equal values share the mean of the ranks that they take up.
std::vector<double> mean_ranks(Values values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double mean_rank = (static_cast<double>(begin + 1) + static_cast<double>(end)) / 2.0;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = mean_rank;
    begin = end;
  }
  return ranks;
}

/// Deviations from the mean, divided by the largest of them so that their squares neither overflow nor
/// vanish.
std::vector<double> scaled_deviations(Values values) {
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  std::vector<double> deviations;
  double largest = 0.0;
  for (double value : values) {
    deviations.push_back(value - mean);
    largest = std::max(largest, std::abs(value - mean));
  }
  for (double& deviation : deviations) deviation /= largest;
  return deviations;
}

}  // namespace

double accuracy(Classes predictions, Classes labels) {
  check_sizes(predictions.size(), labels.size());
  int64_t num_correct = 0;
  for (size_t i = 0; i < labels.size(); ++i) num_correct += predictions[i] == labels[i] ? 1 : 0;
  return static_cast<double>(num_correct) / static_cast<double>(labels.size());
}

double f1_score(Classes predictions, Classes labels, int32_t positive_class) {
  check_sizes(predictions.size(), labels.size());
  int64_t true_positives = 0, predicted = 0, actual = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    const bool is_predicted = predictions[i] == positive_class, is_actual = labels[i] == positive_class;
    true_positives += is_predicted && is_actual ? 1 : 0;
    predicted += is_predicted ? 1 : 0;
    actual += is_actual ? 1 : 0;
  }
  // 2 TP + FP + FN counts each predicted and each actual positive once.
  if (predicted + actual == 0) return 0.0;
  return 2.0 * static_cast<double>(true_positives) / static_cast<double>(predicted + actual);
}

double macro_f1_score(Classes predictions, Classes labels, int64_t num_classes) {
  double sum = 0.0;
  int64_t num_present = 0;
  for (int32_t c = 0; c < num_classes; ++c) {
    const bool present = std::find(predictions.begin(), predictions.end(), c) != predictions.end() ||
                         std::find(labels.begin(), labels.end(), c) != labels.end();
    if (!present) continue;
    sum += f1_score(predictions, labels, c);
    ++num_present;
  }
  return num_present == 0 ? 0.0 : sum / static_cast<double>(num_present);
}

double matthews_correlation(Classes predictions, Classes labels) {
  check_sizes(predictions.size(), labels.size());
  std::map<int32_t, std::pair<double, double>> counts;  // of each class among predictions, labels
  double num_correct = 0.0;
  for (size_t i = 0; i < labels.size(); ++i) {
    counts[predictions[i]].first += 1.0;
    counts[labels[i]].second += 1.0;
    num_correct += predictions[i] == labels[i] ? 1.0 : 0.0;
  }
  // With n rows, c correct ones, p_k predictions and t_k labels of class k:
  //   (c n - sum p_k t_k) / sqrt((n^2 - sum p_k^2) (n^2 - sum t_k^2))
  const double n = static_cast<double>(labels.size());
  double covariance = num_correct * n, prediction_variance = n * n, label_variance = n * n;
  for (const auto& [label, count] : counts) {
    covariance -= count.first * count.second;
    prediction_variance -= count.first * count.first;
    label_variance -= count.second * count.second;
  }
  if (prediction_variance == 0.0 || label_variance == 0.0) return 0.0;
  return covariance / std::sqrt(prediction_variance * label_variance);
}

std::optional<double> pearson(Values x, Values y) {
  check(x.size() == y.size(), "pearson: expected as many values on both sides, found {} and {}", x.size(),
        y.size());
  if (x.size() < 2 || all_equal(x) || all_equal(y)) return std::nullopt;
  const std::vector<double> dx = scaled_deviations(x), dy = scaled_deviations(y);
  double xy = 0.0, xx = 0.0, yy = 0.0;
  for (size_t i = 0; i < dx.size(); ++i) {
    xy += dx[i] * dy[i];
    xx += dx[i] * dx[i];
    yy += dy[i] * dy[i];
  }
  return std::clamp(xy / (std::sqrt(xx) * std::sqrt(yy)), -1.0, 1.0);
}

std::optional<double> spearman(Values x, Values y) {
  return pearson(mean_ranks(x), mean_ranks(y));
}

std::vector<int32_t> argmax_rows(Values logits, int64_t num_classes) {
  check(num_classes > 0 && logits.size() % static_cast<size_t>(num_classes) == 0,
        "argmax_rows: expected rows of {} logits, found {} values", num_classes, logits.size());
  const size_t width = static_cast<size_t>(num_classes);
  std::vector<int32_t> classes;
  for (size_t begin = 0; begin < logits.size(); begin += width) {
    const Values row = logits.subspan(begin, width);
    if (!std::all_of(row.begin(), row.end(), [](double value) { return std::isfinite(value); })) {
      fail(ErrorKind::numeric, "row {}: expected finite logits, found {}", begin / width,
           fmt::join(row, ", "));
    }
    classes.push_back(static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
  }
  return classes;
}

namespace {

std::optional<double> mean_of(std::optional<double> a, std::optional<double> b) {
  if (!a || !b) return std::nullopt;
  return (*a + *b) / 2.0;
}

struct ClassTask {
  const Task& task;
  int32_t positive_class;
};

Scores class_scores(const ClassTask& about, Classes predictions, Classes labels) {
  const double share = accuracy(predictions, labels);
  switch (about.task.metric) {
    case MetricKind::matthews:
      return {{"matthews_correlation", matthews_correlation(predictions, labels)}};
    case MetricKind::accuracy_f1: {
      const double f1 = f1_score(predictions, labels, about.positive_class);
      return {{"accuracy", share}, {"f1", f1}, {"combined_score", mean_of(share, f1)}};
    }
    case MetricKind::own_classes: {
      const bool binary = about.task.num_labels == 2;
      return {{"accuracy", share},
              {"f1", binary ? f1_score(predictions, labels, about.positive_class)
                            : macro_f1_score(predictions, labels, about.task.num_labels)}};
    }
    default:
      return {{"accuracy", share}};
  }
}

Scores regression_scores(const Task& task, Values predictions, Values targets) {
  const auto linear = pearson(predictions, targets), rank = spearman(predictions, targets);
  Scores scores = {{"pearson", linear}, {"spearmanr", rank}};
  if (task.metric == MetricKind::pearson_spearman)
    scores.emplace_back("combined_score", mean_of(linear, rank));
  return scores;
}

int32_t most_frequent(Classes labels) {
  std::map<int32_t, int64_t> counts;
  for (int32_t label : labels) ++counts[label];
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

Metrics class_metrics(const ClassTask& about, Values logits, Classes labels) {
  const std::vector<int32_t> predictions = argmax_rows(logits, about.task.num_labels);
  const std::vector<int32_t> majority(labels.size(), most_frequent(labels));
  Metrics metrics{.values = class_scores(about, predictions, labels)};
  metrics.majority_score = headline_score(about.task, {.values = class_scores(about, majority, labels)});
  metrics.degenerate =
      all_equal(predictions) || headline_score(about.task, metrics) == metrics.majority_score;
  return metrics;
}

Metrics regression_metrics(const Task& task, Values logits, Values targets) {
  argmax_rows(logits, 1);  // refuses values that are not finite
  Metrics metrics{.values = regression_scores(task, logits, targets)};
  metrics.degenerate = all_equal(logits);
  return metrics;
}

const std::optional<double>* find_value(const Metrics& metrics, std::string_view key) {
  for (const auto& [name, value] : metrics.values) {
    if (name == key) return &value;
  }
  return nullptr;
}

}  // namespace

std::string metric_suffix(const Dataset& dataset) {
  return dataset.task == "mnli" && dataset.split.ends_with("mismatched") ? "_mm" : "";
}

void require_labels(const Task& task, const Dataset& dataset) {
  if (dataset.labelled) return;
  fail(ErrorKind::usage, "{} {}: expected a split with labels, found none; it can only be predicted",
       task.name, dataset.split);
}

Metrics compute_metrics(const Task& task, const Dataset& dataset, Values logits) {
  require_labels(task, dataset);
  check(logits.size() == dataset.examples.size() * static_cast<size_t>(task.num_labels),
        "compute_metrics: expected {} x {} logits, found {}", dataset.examples.size(), task.num_labels,
        logits.size());
  std::vector<int32_t> labels;
  std::vector<double> targets;
  for (const Example& example : dataset.examples) {
    labels.push_back(example.label);
    targets.push_back(example.target);
  }
  Metrics metrics = task.regression ? regression_metrics(task, logits, targets)
                                    : class_metrics({task, dataset.positive_class}, logits, labels);
  for (auto& [key, value] : metrics.values) key += metric_suffix(dataset);
  return metrics;
}

Metrics merge_metrics(const std::vector<Metrics>& parts) {
  check(!parts.empty(), "merge_metrics: expected at least one part");
  Metrics merged = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    merged.values.insert(merged.values.end(), parts[i].values.begin(), parts[i].values.end());
    merged.majority_score = mean_of(merged.majority_score, parts[i].majority_score);
    merged.degenerate = merged.degenerate || parts[i].degenerate;
  }
  return merged;
}

std::optional<double> headline_score(const Task& task, const Metrics& metrics, const std::string& metric) {
  std::string key = metric.empty() ? task.default_metric : metric;
  if (key.starts_with("eval_")) key = key.substr(5);
  if (const auto* value = find_value(metrics, key)) return *value;
  const auto* matched = find_value(metrics, "accuracy");
  const auto* mismatched = find_value(metrics, "accuracy_mm");
  if (key == "mean_accuracy" && (matched || mismatched)) {
    // One split alone is its own mean.
    return matched && mismatched ? mean_of(*matched, *mismatched) : matched ? *matched : *mismatched;
  }
  std::vector<std::string> names;
  for (const auto& [name, value] : metrics.values) names.push_back(name);
  fail(ErrorKind::usage, "{} has no metric '{}': did you mean '{}'? Its metrics are {}", task.name, key,
       nearest_name(key, names), fmt::join(names, ", "));
}

}  // namespace normtune
