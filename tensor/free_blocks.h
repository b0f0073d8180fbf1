#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>

namespace normtune {

/// The free parts of some memory. A block is taken from the smallest that is large enough (best fit); one
/// that is put back is joined with its free neighbours.
class FreeBlocks {
 public:
  /// Null if no block has so many bytes. The rest of the block stays free.
  std::byte* take(size_t bytes);
  void put(std::byte* begin, size_t bytes);
  /// How many of the free bytes lie directly before `end`, the end of the memory.
  size_t bytes_at_end(const std::byte* end) const;

 private:
  using ByAddress = std::map<std::byte*, size_t>;

  void erase(ByAddress::iterator block);

  ByAddress by_address_;
  std::set<std::pair<size_t, std::byte*>> by_size_;
};

}  // namespace normtune
