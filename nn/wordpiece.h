#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/double_array_trie.h"

namespace normtune {

/// The WordPiece model (Schuster & Nakajima 2012, as in BERT): cuts a word from the left into the longest
/// pieces that the vocabulary holds; pieces that continue a word are marked "##" in the vocabulary.
class WordPiece {
 public:
  static constexpr std::string_view continuing_subword_prefix = "##";

  /// vocabulary[id] is the token; an empty string stands for an id that the model cannot produce. A word of
  /// more than max_input_chars_per_word code points is unknown.
  WordPiece(std::span<const std::string> vocabulary, int32_t unk_token_id, int64_t max_input_chars_per_word);

  /// Appends the ids of one word; a single unk_token_id if any part of the word has no piece.
  void append_ids(std::string_view word, std::vector<int32_t>& ids) const;

 private:
  bool is_too_long(std::string_view word) const;

  DoubleArrayTrie trie_;
  DoubleArrayTrie::Node continuation_;  // the node of "##", no_node if no token begins so
  int32_t unk_token_id_;
  int64_t max_input_chars_per_word_;
};

}  // namespace normtune
