#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "nn/bert_normalizer.h"

namespace normtune {

using WordCounts = std::unordered_map<std::string, int64_t>;

/// Counts the words of texts, normalized and split as BERT's tokenizer does.
///
///   WordCounter counter({});        // uncased
///   for (...) counter.add(line);
///   const std::vector<std::string> vocabulary = train_wordpiece(counter.counts(), {.vocab_size = 8192});
class WordCounter {
 public:
  explicit WordCounter(const BertNormalizerOptions& options) : normalizer_(options) {}

  void add(std::string_view text);
  const WordCounts& counts() const { return counts_; }

 private:
  BertNormalizer normalizer_;
  WordCounts counts_;
  std::string normalized_, word_;  // buffers
};

struct WordPieceTraining {
  int64_t vocab_size = 30522;   ///< special tokens included
  int64_t min_frequency = 2;    ///< a pair that occurs less often is not merged
  int64_t max_alphabet = 1000;  ///< the rarest characters beyond are left out; words with them are unknown
};

/// A WordPiece vocabulary from word counts, by the merges of byte-pair encoding (Sennrich et al. 2016,
/// arXiv:1508.07909): a word begins as its characters (all but the first marked "##"); again and again the
/// most frequent pair of neighbours becomes one piece.
///
/// Returns [PAD] [UNK] [CLS] [SEP] [MASK], the characters (in both forms, so that every word made of them has
/// pieces), then the merged pieces in the order of merging. Of equally frequent pairs the one whose pieces
/// come first in byte order is merged, so equal counts give an equal vocabulary. It is shorter than
/// vocab_size if the pairs run out. Throws Error(usage) if vocab_size does not even hold the characters,
/// Error(data) if there is no word.
std::vector<std::string> train_wordpiece(const WordCounts& counts, const WordPieceTraining& settings);

/// [PAD] [UNK] [CLS] [SEP] [MASK] and then `pieces`.
std::vector<std::string> with_special_tokens(std::span<const std::string> pieces);

/// Writes vocab.txt, tokenizer_config.json and tokenizer.json, which Tokenizer and the `tokenizers` and
/// transformers libraries read. Throws Error(write).
void write_wordpiece_files(const std::filesystem::path& folder, std::span<const std::string> vocabulary,
                           bool do_lower_case, int64_t model_max_length);

}  // namespace normtune
