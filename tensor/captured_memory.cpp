#include "tensor/captured_memory.h"

#include <algorithm>

namespace normtune {

namespace {

constexpr size_t alignment = 256;
constexpr size_t smallest_chunk = size_t{32} << 20;

size_t block_bytes(size_t bytes) {
  return std::max((bytes + alignment - 1) / alignment, size_t{1}) * alignment;
}

}  // namespace

void CapturedMemory::begin_capture() {
  is_capturing_ = true;
  free_ = FreeBlocks();
  for (const auto& [begin, bytes] : chunks_) free_.put(begin, bytes);
}

void* CapturedMemory::allocate(size_t bytes) {
  const size_t size = block_bytes(bytes);
  if (std::byte* block = free_.take(size)) return block;
  const size_t chunk_bytes = std::max(size, smallest_chunk);
  std::byte* chunk = new_chunk_(chunk_bytes);
  chunks_.emplace(chunk, chunk_bytes);
  free_.put(chunk, chunk_bytes);
  return free_.take(size);
}

void CapturedMemory::deallocate(void* block, size_t bytes) {
  if (is_capturing_) free_.put(static_cast<std::byte*>(block), block_bytes(bytes));
}

bool CapturedMemory::owns(const void* block) const {
  const auto* address = static_cast<const std::byte*>(block);
  return std::ranges::any_of(chunks_, [&](const auto& chunk) {
    return chunk.first <= address && address < chunk.first + chunk.second;
  });
}

}  // namespace normtune
