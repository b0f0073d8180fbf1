#pragma once

#include "experiments/pretraining_corpus.h"

namespace normtune {

/// Pre-training pairs of pocket's English, made on the fly: restatements (50 %), short ones (11 %),
/// evaluations (18 %), inferences (11 %), definitions (5 %), continuations of a topic (2 %); and evaluations
/// that stand alone (3 %). Half of the restatements and evaluations and a third of the others are wrong: the
/// second sentence contradicts the first, or says something else.
///
/// Epoch 0 may begin with a primer: restatements (37 %), short ones (38 %) and evaluations (25 %) that are
/// easy to tell.
class PocketCorpus : public PretrainingCorpus {
 public:
  /// `stream` tells corpora of one seed apart: they share no example but by chance.
  PocketCorpus(uint64_t seed, uint64_t stream, int64_t size, int64_t primer_pairs)
      : seed_(seed), stream_(stream), size_(size), primer_pairs_(primer_pairs) {}

  int64_t size() const override { return size_; }
  CorpusExample example(int64_t epoch, int64_t index) const override;
  std::vector<std::string> pieces() const override;
  std::string identity() const override;

 private:
  uint64_t seed_, stream_;
  int64_t size_, primer_pairs_;
};

/// The corpus that `pretrain --corpus pocket` reads, and a small one to measure the held-out loss with.
PretrainingCorpora pocket_corpora(uint64_t seed);

}  // namespace normtune
