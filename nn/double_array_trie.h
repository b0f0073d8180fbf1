#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace normtune {

/// A map from byte strings to ids for longest-prefix search, as a double-array trie (Aoe 1989,
/// doi:10.1109/32.31365): node n has a child for byte b if and only if cell base[n] + b names n as its
/// parent, so a step costs one addition and one comparison.
class DoubleArrayTrie {
 public:
  using Node = int32_t;
  static constexpr Node root = 0;
  static constexpr Node no_node = -1;
  static constexpr int32_t no_id = -1;

  struct Match {
    int32_t id;     // no_id: no key is a prefix of the text
    size_t length;  // in bytes
  };

  DoubleArrayTrie() : DoubleArrayTrie(std::vector<std::pair<std::string_view, int32_t>>()) {}
  /// Keys are distinct and not empty, ids at least 0; the keys are copied.
  explicit DoubleArrayTrie(std::vector<std::pair<std::string_view, int32_t>> entries);

  /// The longest key below `start` that is a prefix of `text`.
  Match longest_match(std::string_view text, Node start = root) const {
    Match match{no_id, 0};
    Node node = start;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(node, text[i]);
      if (node == no_node) break;
      if (cells_[node].id != no_id) match = {cells_[node].id, i + 1};
    }
    return match;
  }

  /// The node that `prefix` leads to, or no_node.
  Node find(std::string_view prefix) const;

 private:
  struct Cell {
    int32_t base = 0;
    Node parent = no_node;  // no_node: the cell is free (and the root's)
    int32_t id = no_id;
  };
  class Builder;

  Node child(Node node, char byte) const {
    const Node next = cells_[node].base + static_cast<unsigned char>(byte);
    return cells_[next].parent == node ? next : no_node;
  }

  std::vector<Cell> cells_;  // 256 free cells at the end: base + byte never leaves the array
};

}  // namespace normtune
