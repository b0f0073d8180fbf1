#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <vector>

#include "tensor/free_blocks.h"

namespace normtune {

/// The memory of tensors that are made while work is captured (Backend::capture). Captured work uses the same
/// addresses at each replay, so its memory may not go to others in between. All captured work shares one
/// memory, as one piece runs after the other: each capture begins with all of it free, and what was not given
/// back by its end holds values until the next replay. It grows by chunks, which stay; a block may reach from
/// one into another where the device has put them next to each other.
class CapturedMemory {
 public:
  /// `new_chunk` asks the device for so many bytes.
  explicit CapturedMemory(std::function<std::byte*(size_t bytes)> new_chunk)
      : new_chunk_(std::move(new_chunk)) {}

  void begin_capture();
  void end_capture() { is_capturing_ = false; }
  bool is_capturing() const { return is_capturing_; }

  /// A block at a multiple of 256 bytes.
  void* allocate(size_t bytes);
  /// Does nothing after the end of the capture: the block's bytes are free then in any case.
  void deallocate(void* block, size_t bytes);
  /// Whether a block comes from here.
  bool owns(const void* block) const;

 private:
  std::function<std::byte*(size_t)> new_chunk_;
  std::map<std::byte*, size_t> chunks_;  // bytes of each
  FreeBlocks free_;
  bool is_capturing_ = false;
};

}  // namespace normtune
