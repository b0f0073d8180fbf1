#pragma once

#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "tensor/allocator.h"

namespace normtune {

/// The CPU's allocator: one reserved range of addresses, cut into blocks.
///
/// A block is served from the smallest free block that fits (best fit); a block given back is joined with
/// free neighbours. Only where no free block fits does the used extent of the range grow, which is the one
/// request to the system. Pages stay once touched, so a training step that repeats the allocations of the
/// last one meets no page fault. A sanitizer build allocates each block on its own instead, so that an
/// overrun is seen.
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
  std::byte* take_free_block(size_t bytes);
  std::byte* grow(size_t bytes);
  void insert_free_block(std::byte* begin, size_t bytes);
  void erase_free_block(std::map<std::byte*, size_t>::iterator block);
  [[noreturn]] void fail_out_of_memory(size_t bytes) const;

  mutable std::mutex mutex_;
  size_t limit_;
  std::byte* base_ = nullptr;  // of the reserved range
  size_t range_bytes_ = 0;     // reserved addresses
  size_t extent_ = 0;          // bytes from base_ on that are usable
  /// Bytes from base_ on that were ever handed out; all beyond them are zero.
  [[maybe_unused]] size_t touched_ = 0;  // by a build with the address sanitizer, which has no range
  std::map<std::byte*, size_t> free_by_address_;
  std::set<std::pair<size_t, std::byte*>> free_by_size_;
  AllocatorStats stats_;
};

}  // namespace normtune
