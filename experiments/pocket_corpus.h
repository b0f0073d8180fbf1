#pragma once

#include "experiments/pretraining_corpus.h"

namespace normtune {

/// Pre-training pairs of pocket's English, made on the fly: restatements (45 %), evaluations (27 %),
/// inferences (12 %), definitions (11 %) and continuations of a topic (5 %). One in three pairs is wrong: the
/// second sentence comes from elsewhere, or contradicts the first in one word or a few.
class PocketCorpus : public PretrainingCorpus {
 public:
  /// `stream` tells corpora of one seed apart: they share no example but by chance.
  PocketCorpus(uint64_t seed, uint64_t stream, int64_t size) : seed_(seed), stream_(stream), size_(size) {}

  int64_t size() const override { return size_; }
  CorpusExample example(int64_t epoch, int64_t index) const override;
  std::vector<std::string> pieces() const override;
  std::string identity() const override;

 private:
  uint64_t seed_, stream_;
  int64_t size_;
};

/// The corpus that `pretrain --corpus pocket` reads, and a small one to measure the held-out loss with.
PretrainingCorpora pocket_corpora(uint64_t seed);

}  // namespace normtune
