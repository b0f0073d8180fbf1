#include "nn/double_array_trie.h"

#include <algorithm>

namespace normtune {

/// Places the nodes, parents before children.
class DoubleArrayTrie::Builder {
 public:
  using Entries = std::span<const std::pair<std::string_view, int32_t>>;

  /// `sorted` is ordered by key.
  Builder(Entries sorted, std::vector<Cell>& cells) : entries_(sorted), cells_(cells) {}

  void build() {
    cells_.resize(alphabet_size);
    std::vector<Subtree> open = {{root, 0, entries_.size(), 0}};
    while (!open.empty()) {
      const Subtree subtree = open.back();
      open.pop_back();
      place_children(subtree, open);
    }
    cells_.resize(cells_.size() + alphabet_size);
  }

 private:
  /// The entries [begin, end) share their first `depth` bytes, which lead to `node`.
  struct Subtree {
    Node node;
    size_t begin;
    size_t end;
    size_t depth;
  };

  void place_children(Subtree subtree, std::vector<Subtree>& open) {
    const std::string_view first_key = subtree.begin < subtree.end ? entries_[subtree.begin].first : "";
    if (subtree.begin < subtree.end && first_key.size() == subtree.depth) {
      cells_[subtree.node].id = entries_[subtree.begin++].second;
    }
    std::vector<Subtree> children;
    std::vector<unsigned char> bytes;
    for (size_t i = subtree.begin; i < subtree.end; ++i) {
      const auto byte = static_cast<unsigned char>(entries_[i].first[subtree.depth]);
      if (bytes.empty() || bytes.back() != byte) {
        bytes.push_back(byte);
        children.push_back({no_node, i, i, subtree.depth + 1});
      }
      children.back().end = i + 1;
    }
    if (bytes.empty()) return;
    const int32_t base = find_base(bytes);
    cells_[subtree.node].base = base;
    for (size_t c = 0; c < bytes.size(); ++c) {
      children[c].node = base + bytes[c];
      cells_[children[c].node].parent = subtree.node;
    }
    open.insert(open.end(), children.begin(), children.end());
  }

  bool is_free(size_t cell) const {
    return cell >= cells_.size() || (cells_[cell].parent == no_node && cell != root);
  }

  /// The lowest base that puts all children into free cells. The search starts where the array is no longer
  /// almost full, so that building stays linear in practice.
  int32_t find_base(const std::vector<unsigned char>& bytes) {
    size_t num_taken = 0;
    size_t cell = std::max<size_t>(search_start_, bytes[0] + 1);
    for (const size_t start = cell;; ++cell) {
      if (!is_free(cell)) {
        ++num_taken;
        continue;
      }
      const size_t base = cell - bytes[0];
      if (std::all_of(bytes.begin(), bytes.end(), [&](unsigned char byte) { return is_free(base + byte); })) {
        if (num_taken * 20 >= (cell - start + 1) * 19) search_start_ = cell;
        if (cells_.size() < base + alphabet_size) cells_.resize(base + alphabet_size);
        return static_cast<int32_t>(base);
      }
    }
  }

  static constexpr size_t alphabet_size = 256;

  Entries entries_;
  std::vector<Cell>& cells_;
  size_t search_start_ = 1;
};

DoubleArrayTrie::DoubleArrayTrie(std::vector<std::pair<std::string_view, int32_t>> entries) {
  std::sort(entries.begin(), entries.end());
  Builder(entries, cells_).build();
}

DoubleArrayTrie::Node DoubleArrayTrie::find(std::string_view prefix) const {
  Node node = root;
  for (const char byte : prefix) {
    node = child(node, byte);
    if (node == no_node) break;
  }
  return node;
}

}  // namespace normtune
