#include "nn/wordpiece.h"

#include <utility>

#include "nn/unicode.h"

namespace normtune {

namespace {

DoubleArrayTrie make_trie(std::span<const std::string> vocabulary) {
  std::vector<std::pair<std::string_view, int32_t>> entries;
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary[id].empty()) entries.emplace_back(vocabulary[id], static_cast<int32_t>(id));
  }
  return DoubleArrayTrie(std::move(entries));
}

}  // namespace

WordPiece::WordPiece(std::span<const std::string> vocabulary, int32_t unk_token_id,
                     int64_t max_input_chars_per_word)
    : trie_(make_trie(vocabulary)),
      continuation_(trie_.find(continuing_subword_prefix)),
      unk_token_id_(unk_token_id),
      max_input_chars_per_word_(max_input_chars_per_word) {}

bool WordPiece::is_too_long(std::string_view word) const {
  const auto limit = static_cast<size_t>(max_input_chars_per_word_);
  return word.size() > limit && count_code_points(word) > limit;
}

void WordPiece::append_ids(std::string_view word, std::vector<int32_t>& ids) const {
  if (is_too_long(word)) return ids.push_back(unk_token_id_);
  const size_t num_ids_before = ids.size();
  DoubleArrayTrie::Node start = DoubleArrayTrie::root;
  while (!word.empty()) {
    const DoubleArrayTrie::Match piece = start == DoubleArrayTrie::no_node
                                             ? DoubleArrayTrie::Match{DoubleArrayTrie::no_id, 0}
                                             : trie_.longest_match(word, start);
    if (piece.id == DoubleArrayTrie::no_id) {
      ids.resize(num_ids_before);
      return ids.push_back(unk_token_id_);
    }
    ids.push_back(piece.id);
    word.remove_prefix(piece.length);
    start = continuation_;
  }
}

}  // namespace normtune
