#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/double_array_trie.h"

namespace normtune {

/// A token that is found in the text itself, before the text is split into words: special tokens such as
/// [SEP], and those that a user added to the vocabulary.
struct AddedToken {
  std::string content;  // neither begins nor ends with white space
  int32_t id = 0;
  bool normalized =
      false;            // looked for in normalized text, in its normalized form, instead of in the raw text
  bool special = true;  // of tokens that are equal after normalization, special ones come first
};

/// Finds added tokens in a text: the leftmost, and of those that begin there the longest.
class AddedTokenFinder {
 public:
  static constexpr int32_t no_id = DoubleArrayTrie::no_id;

  /// Of tokens with equal content the first counts; empty ones are left out.
  explicit AddedTokenFinder(const std::vector<AddedToken>& tokens);

  /// Calls visit(part, id) for the parts of `text` in order; id is an added token's, or no_id for the text
  /// between.
  template <typename Visit>
  void split(std::string_view text, Visit visit) const {
    while (const std::optional<Found> found = find(text)) {
      if (found->begin > 0) visit(text.substr(0, found->begin), no_id);
      visit(text.substr(found->begin, found->length), found->id);
      text.remove_prefix(found->begin + found->length);
    }
    if (!text.empty()) visit(text, no_id);
  }

 private:
  struct Found {
    size_t begin;
    size_t length;
    int32_t id;
  };

  std::optional<Found> find(std::string_view text) const;

  DoubleArrayTrie trie_;
  std::string first_bytes_;  // of the tokens, each once
};

}  // namespace normtune
