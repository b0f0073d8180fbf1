#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

namespace normtune::cuda {

/// Copies from the host to a device for which nobody waits: the source is first copied to one of a ring of
/// blocks, from which the device fetches it when its turn comes. The host waits only where it is a whole ring
/// ahead of the device. `Blocks` are
///
///   size_t size() const;         // how many
///   size_t block_bytes() const;  // how large
///   void send(size_t block, void* destination, const std::byte* source, size_t bytes);
///                                // copies the source to the block, and enqueues a copy to the destination
///   void wait(size_t block);     // until the last copy from the block is done
///
/// and what is enqueued must be done in order.
template <typename Blocks>
class StagingRing {
 public:
  explicit StagingRing(Blocks blocks) : blocks_(std::move(blocks)) {}

  /// In pieces of a block.
  void copy(void* destination, const void* source, size_t bytes) {
    const std::scoped_lock lock(mutex_);
    auto* to = static_cast<std::byte*>(destination);
    const auto* from = static_cast<const std::byte*>(source);
    for (size_t begin = 0; begin < bytes; begin += blocks_.block_bytes()) {
      const size_t count = std::min(blocks_.block_bytes(), bytes - begin);
      blocks_.send(free_block(), to + begin, from + begin, count);
      ++num_sent_;
    }
  }

  /// How many blocks have been sent so far.
  uint64_t num_sent() const {
    const std::scoped_lock lock(mutex_);
    return num_sent_;
  }
  /// Whoever has waited for the device says what num_sent() was before: so many copies are done, and their
  /// blocks are free.
  void note_done(uint64_t num_done) {
    const std::scoped_lock lock(mutex_);
    num_done_ = std::max(num_done_, num_done);
  }

 private:
  /// The next block, once it is free.
  size_t free_block() {
    const size_t block = num_sent_ % blocks_.size();
    if (num_sent_ - num_done_ == blocks_.size()) {  // then this block's copy is the oldest
      blocks_.wait(block);
      ++num_done_;
    }
    return block;
  }

  mutable std::mutex mutex_;
  Blocks blocks_;
  uint64_t num_sent_ = 0, num_done_ = 0;  // of copies, the latter as far as the host knows
};

}  // namespace normtune::cuda
