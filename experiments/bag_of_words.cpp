#include "experiments/bag_of_words.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "nn/bert_pre_tokenizer.h"
#include "tensor/error.h"

namespace normtune {
namespace {

constexpr int64_t max_input_chars_per_word = 100;
constexpr int newton_steps = 12;  // a convex problem: the last step moves nothing visible
constexpr double ridge = 1.0;

std::vector<std::string> with_unknown(std::span<const std::string> pieces) {
  std::vector<std::string> vocabulary = {"[UNK]"};
  vocabulary.insert(vocabulary.end(), pieces.begin(), pieces.end());
  return vocabulary;
}

/// Solves matrix * x = vector for a symmetric positive definite matrix [n, n], in place: Cholesky, of which
/// the lower triangle is used.
std::vector<double> solve(std::vector<double> matrix, std::vector<double> vector) {
  const size_t n = vector.size();
  const auto row = [&](size_t i) { return matrix.data() + i * n; };
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = row(i)[j];
      for (size_t k = 0; k < j; ++k) sum -= row(i)[k] * row(j)[k];
      row(i)[j] = i == j ? std::sqrt(sum) : sum / row(j)[j];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) vector[i] -= row(i)[k] * vector[k];
    vector[i] /= row(i)[i];
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) vector[i] -= row(k)[i] * vector[k];
    vector[i] /= row(i)[i];
  }
  return vector;
}

/// The sums over examples that a Newton step needs, lower triangle only.
class NormalEquations {
 public:
  explicit NormalEquations(size_t size) : size_(size), matrix_(size * size), vector_(size) {}

  /// Adds `curvature` * x x^T and `residual` * x. Most counts are zero and cost nothing.
  void add(std::span<const double> x, double curvature, double residual) {
    for (size_t i = 0; i < size_; ++i) {
      if (x[i] == 0) continue;
      vector_[i] += residual * x[i];
      for (size_t j = 0; j <= i; ++j) matrix_[i * size_ + j] += curvature * x[i] * x[j];
    }
  }

  /// The step from `weights`, whose last one, the bias, is free.
  std::vector<double> step(std::span<const double> weights) {
    constexpr double tiny = 1e-9;  // keeps the matrix definite when all predictions are certain
    for (size_t i = 0; i < size_; ++i) {
      const double penalty = i + 1 < size_ ? ridge : tiny;
      matrix_[i * size_ + i] += penalty;
      vector_[i] -= penalty * weights[i];
    }
    return solve(std::move(matrix_), std::move(vector_));
  }

 private:
  size_t size_;
  std::vector<double> matrix_;  // [size, size]
  std::vector<double> vector_;  // [size]
};

}  // namespace

BagOfWords::BagOfWords(std::span<const std::string> pieces, const Dataset& train, bool overlap)
    : num_pieces_(static_cast<int64_t>(pieces.size()) + 1),
      wordpiece_(with_unknown(pieces), 0, max_input_chars_per_word),
      overlap_(overlap) {
  check(train.regression || train.label_names.size() == 2,
        "bag of words: expected scores or 2 classes, found {}", train.label_names.size());
  check(!train.examples.empty(), "bag of words: expected examples, found none");
  std::vector<std::vector<double>> rows;
  for (const Example& example : train.examples) rows.push_back(features(example));
  weights_.assign(rows[0].size(), 0.0);
  for (int step = 0; step < (train.regression ? 1 : newton_steps); ++step) {
    NormalEquations equations(weights_.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      const Example& example = train.examples[i];
      const double score = predict(rows[i]);
      const double probability = 1 / (1 + std::exp(-score));
      if (train.regression) {
        equations.add(rows[i], 1.0, example.target - score);
      } else {
        equations.add(rows[i], probability * (1 - probability), example.label - probability);
      }
    }
    const std::vector<double> change = equations.step(weights_);
    for (size_t i = 0; i < weights_.size(); ++i) weights_[i] += change[i];
  }
}

std::vector<double> BagOfWords::logits(const Dataset& dataset) const {
  std::vector<double> logits;
  for (const Example& example : dataset.examples) {
    if (!dataset.regression) logits.push_back(0.0);
    logits.push_back(predict(features(example)));
  }
  return logits;
}

std::vector<int32_t> BagOfWords::piece_ids(const std::string& text) const {
  std::string lower = text;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::vector<int32_t> ids;
  for (const std::string& word : split_words(lower)) wordpiece_.append_ids(word, ids);
  return ids;
}

std::vector<double> BagOfWords::features(const Example& example) const {
  const auto count = static_cast<size_t>(num_pieces_);
  std::vector<double> x(example.sentence2 ? 2 * count : count);
  const std::vector<int32_t> first = piece_ids(example.sentence1);
  for (const int32_t id : first) x[static_cast<size_t>(id)] += 1;
  if (example.sentence2) {
    const std::vector<int32_t> second = piece_ids(*example.sentence2);
    for (const int32_t id : second) x[count + static_cast<size_t>(id)] += 1;
    if (overlap_) {
      double shared = 0;
      for (size_t i = 0; i < count; ++i) shared += std::min(x[i], x[count + i]);
      const auto length1 = static_cast<double>(first.size()), length2 = static_cast<double>(second.size());
      x.insert(x.end(), {shared, shared / length1, shared / length2, shared / (length1 + length2 - shared),
                         length1 - length2, length1, length2});
    }
  }
  x.push_back(1.0);
  return x;
}

double BagOfWords::predict(std::span<const double> features) const {
  double sum = 0;
  for (size_t i = 0; i < features.size(); ++i) sum += features[i] * weights_[i];
  return sum;
}

}  // namespace normtune
