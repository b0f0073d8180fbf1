#include "nn/added_tokens.h"

#include <set>
#include <utility>

namespace normtune {

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens) {
  std::set<std::string_view> contents;
  std::vector<std::pair<std::string_view, int32_t>> entries;
  for (const AddedToken& token : tokens) {
    if (token.content.empty() || !contents.insert(token.content).second) continue;
    entries.emplace_back(token.content, token.id);
    if (first_bytes_.find(token.content[0]) == std::string::npos) first_bytes_ += token.content[0];
  }
  trie_ = DoubleArrayTrie(std::move(entries));
}

std::optional<AddedTokenFinder::Found> AddedTokenFinder::find(std::string_view text) const {
  // With one first byte (the usual "[") the search is a memchr.
  const auto next_candidate = [&](size_t from) {
    return first_bytes_.size() == 1 ? text.find(first_bytes_[0], from)
                                    : text.find_first_of(first_bytes_, from);
  };
  for (size_t begin = next_candidate(0); begin != std::string_view::npos; begin = next_candidate(begin + 1)) {
    const DoubleArrayTrie::Match match = trie_.longest_match(text.substr(begin));
    if (match.id != no_id) return Found{begin, match.length, match.id};
  }
  return std::nullopt;
}

}  // namespace normtune
