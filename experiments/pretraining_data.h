#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "experiments/document_text.h"
#include "experiments/pretraining_corpus.h"
#include "experiments/random_stream.h"
#include "nn/tokenizer.h"

namespace normtune {

/// An example as the model reads it, before masking.
struct PretrainingExample {
  std::vector<int32_t> input_ids;       ///< [CLS] A [SEP], or [CLS] A [SEP] B [SEP]
  std::vector<int32_t> token_type_ids;  ///< 0 up to and including the first [SEP] of a pair, then 1
  int32_t next_sentence_label = -1;     ///< 0: B follows A; 1: it does not; -1: no pair
};

/// The examples of a pre-training. Example `index` of `epoch` is a pure function of both.
class PretrainingDataset {
 public:
  virtual ~PretrainingDataset() = default;
  /// Examples in an epoch.
  virtual int64_t size() const = 0;
  virtual PretrainingExample example(int64_t epoch, int64_t index) const = 0;
};

struct DocumentSettings {
  int64_t max_seq_length = 128;
  bool next_sentence = true;      ///< pairs; false: full-length single segments
  double wrong_pair_share = 0.5;  ///< of pairs whose second text is taken from elsewhere
  uint64_t seed = 42;
};

/// Windows of documents as long as max_seq_length allows (a shorter document is one window). A document of n
/// tokens gives ceil(n / window) of them, evenly spread and moved by a random distance that differs from
/// epoch to epoch, so that over time every cut of the text is seen.
///
/// For the next-sentence question a window is cut in two near its middle, at the beginning of a sentence
/// where there is one. In a wrong pair the second part is replaced by as much text of another document (of a
/// far place in the same one if there is no other). Without it the windows run over the whole text, a [SEP]
/// standing between documents.
class DocumentDataset final : public PretrainingDataset {
 public:
  /// `text` must outlive the data set. Throws Error(data) if it is too short for pairs.
  DocumentDataset(const DocumentText& text, const Tokenizer& tokenizer, DocumentSettings settings);

  int64_t size() const override { return first_window_.back(); }
  PretrainingExample example(int64_t epoch, int64_t index) const override;

 private:
  struct Stretch {  // of text_.tokens()
    int64_t begin, end;
    int64_t length() const { return end - begin; }
  };

  void check_length() const;
  Stretch window(int64_t epoch, int64_t region_index, int64_t window_index) const;
  PretrainingExample single(Stretch window) const;
  PretrainingExample pair(int64_t epoch, int64_t index, Stretch document, Stretch window) const;
  Stretch free_stretch(int64_t position, Stretch window) const;
  Stretch elsewhere(RandomStream& random, Stretch document, Stretch window, int64_t length) const;
  void append(Stretch stretch, int32_t type, PretrainingExample& example) const;

  const DocumentText& text_;
  DocumentSettings settings_;
  int32_t cls_token_id_, sep_token_id_;
  int64_t window_length_;
  std::vector<Stretch> regions_;       // documents, or the text as a whole
  std::vector<int64_t> first_window_;  // [regions + 1], windows before each region
};

/// The examples of a generator, encoded as they are asked for and cut to max_seq_length.
class CorpusDataset final : public PretrainingDataset {
 public:
  /// `corpus` must outlive the data set.
  CorpusDataset(const PretrainingCorpus& corpus, const Tokenizer& tokenizer, int64_t max_seq_length)
      : corpus_(corpus), tokenizer_(tokenizer), max_seq_length_(max_seq_length) {}

  int64_t size() const override { return corpus_.size(); }
  PretrainingExample example(int64_t epoch, int64_t index) const override;

 private:
  const PretrainingCorpus& corpus_;
  Tokenizer tokenizer_;
  int64_t max_seq_length_;
};

}  // namespace normtune
