#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "experiments/dataset.h"
#include "nn/wordpiece.h"

namespace normtune {

/// What a task gives away without word order or pre-training: logistic regression (ridge regression for
/// scores) on the counts of word pieces, those of the second text apart from those of the first.
///
///   minimise  sum_i loss(w . x_i + b, y_i) + 1/2 |w|^2
///
/// by Newton's method (iteratively reweighted least squares), in double. With `overlap` x also holds how many
/// pieces the texts share, which share of each that is, and their lengths.
class BagOfWords {
 public:
  /// Learns from labelled rows of a task with two classes or scores. `pieces` are WordPiece pieces of lower
  /// case; a word that they do not spell counts as unknown.
  BagOfWords(std::span<const std::string> pieces, const Dataset& train, bool overlap);

  /// logits  [examples, 2] with the first of each row 0, or [examples, 1] for scores
  std::vector<double> logits(const Dataset& dataset) const;

 private:
  std::vector<double> features(const Example& example) const;
  std::vector<int32_t> piece_ids(const std::string& text) const;
  double predict(std::span<const double> features) const;

  int64_t num_pieces_;  // the unknown word included
  WordPiece wordpiece_;
  bool overlap_;
  std::vector<double> weights_;  // [features]; the last is the bias
};

}  // namespace normtune
