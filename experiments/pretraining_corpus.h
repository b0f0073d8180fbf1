#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace normtune {

/// A text for masked language modelling, or two with the question whether the second follows the first.
struct CorpusExample {
  std::string text;
  std::string text_pair;    ///< empty: a single text, which the next-sentence head does not see
  bool wrong_pair = false;  ///< the second text does not follow the first: next-sentence label 1
};

/// Examples that are made on the fly rather than read from files, such as those of a grammar.
///
/// An example is a pure function of (what the corpus was made with, epoch, index): the order of the calls,
/// their number and their thread change nothing. Hence a resumed run sees the same examples, and nothing has
/// to be stored. Every member may be called from several threads at once.
class PretrainingCorpus {
 public:
  virtual ~PretrainingCorpus() = default;

  /// Examples in an epoch; at least 1. A generator without end chooses a number that suits progress reports.
  virtual int64_t size() const = 0;
  /// Example `index` of `epoch`: 0 <= index < size(), 0 <= epoch. The order is random already: the trainer
  /// takes the indices one after another. A held-out corpus is asked for epoch 0 only.
  virtual CorpusExample example(int64_t epoch, int64_t index) const = 0;

  /// The pieces of a fixed WordPiece vocabulary ("walk", "##s"), in the order of their ids and without
  /// special tokens. Empty: a vocabulary is learned from the words of epoch 0.
  virtual std::vector<std::string> pieces() const { return {}; }
  /// All that decides the examples (name, version, seed), for the id of a run.
  virtual std::string identity() const = 0;
};

/// What `pretrain --corpus NAME` trains on, and what it holds out.
struct PretrainingCorpora {
  std::unique_ptr<PretrainingCorpus> train, validation;
};

}  // namespace normtune
