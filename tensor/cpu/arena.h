#pragma once

#include <mutex>

#include "tensor/allocator.h"
#include "tensor/free_blocks.h"

namespace normtune {

/// The CPU's allocator: one reserved range of addresses, cut into blocks.
///
/// A block is served from a free block (see FreeBlocks). Only where none fits does the used extent of the
/// range grow, which is the one request to the system. Pages stay once touched, so a training step that
/// repeats the allocations of the last one meets no page fault. A sanitizer build allocates each block on its
/// own instead, so that an overrun is seen.
class Arena final : public Allocator {
 public:
  static constexpr size_t alignment = 64;

  /// `limit` is the most bytes to hold; 0 stands for NORMTUNE_CPU_MEMORY_LIMIT (bytes), else the physical
  /// memory (or the limit of the control group, if lower).
  explicit Arena(size_t limit = 0);
  ~Arena() override;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void* allocate(size_t bytes) override;
  void* allocate(size_t bytes, bool& is_zero) override;
  void deallocate(void* pointer, size_t bytes) override;
  AllocatorStats stats() const override;
  void reset_peak() override;
  size_t limit() const { return limit_; }

 private:
  void reserve_addresses();
  std::byte* grow(size_t bytes);
  [[noreturn]] void fail_out_of_memory(size_t bytes) const;

  mutable std::mutex mutex_;
  size_t limit_;
  std::byte* base_ = nullptr;  // of the reserved range
  size_t range_bytes_ = 0;     // reserved addresses
  size_t extent_ = 0;          // bytes from base_ on that are usable
  /// Bytes from base_ on that were ever handed out; all beyond them are zero.
  [[maybe_unused]] size_t touched_ = 0;  // by a build with the address sanitizer, which has no range
  FreeBlocks free_;
  AllocatorStats stats_;
};

}  // namespace normtune
