#include "tensor/free_blocks.h"

namespace normtune {

std::byte* FreeBlocks::take(size_t bytes) {
  const auto found = by_size_.lower_bound({bytes, nullptr});
  if (found == by_size_.end()) return nullptr;
  const auto [size, block] = *found;
  erase(by_address_.find(block));
  if (size > bytes) put(block + bytes, size - bytes);
  return block;
}

void FreeBlocks::put(std::byte* begin, size_t bytes) {
  const auto next = by_address_.lower_bound(begin);
  if (next != by_address_.end() && begin + bytes == next->first) {
    bytes += next->second;
    erase(next);
  }
  const auto after = by_address_.lower_bound(begin);
  if (after != by_address_.begin()) {
    const auto previous = std::prev(after);
    if (previous->first + previous->second == begin) {
      begin = previous->first;
      bytes += previous->second;
      erase(previous);
    }
  }
  by_address_.emplace(begin, bytes);
  by_size_.emplace(bytes, begin);
}

size_t FreeBlocks::bytes_at_end(const std::byte* end) const {
  if (by_address_.empty()) return 0;
  const auto last = std::prev(by_address_.end());
  return last->first + last->second == end ? last->second : 0;
}

void FreeBlocks::erase(ByAddress::iterator block) {
  by_size_.erase({block->second, block->first});
  by_address_.erase(block);
}

}  // namespace normtune
