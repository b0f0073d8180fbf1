#include "tensor/cpu/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "tensor/error.h"

#if defined(__SANITIZE_ADDRESS__)
#define NORMTUNE_SEPARATE_BLOCKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define NORMTUNE_SEPARATE_BLOCKS 1
#endif
#endif

namespace normtune {
namespace {

constexpr size_t mebibyte = size_t{1} << 20;
constexpr size_t growth_step = 32 * mebibyte;

size_t round_up(size_t bytes, size_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

/// The memory this process may use: the machine's, or what its control group allows.
size_t physical_memory() {
  size_t bytes = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t group_limit = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> group_limit) bytes = std::min(bytes, group_limit);
  return bytes;
}

size_t default_limit() {
  const char* text = std::getenv("NORMTUNE_CPU_MEMORY_LIMIT");
  if (text == nullptr) return physical_memory();
  char* end = nullptr;
  const unsigned long long bytes = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0' || bytes == 0) {
    fail(ErrorKind::usage, "NORMTUNE_CPU_MEMORY_LIMIT: expected a number of bytes, found \"{}\"", text);
  }
  return bytes;
}

}  // namespace

Arena::Arena(size_t limit) : limit_(limit != 0 ? limit : default_limit()) {}

#if defined(NORMTUNE_SEPARATE_BLOCKS)

Arena::~Arena() = default;

void* Arena::allocate(size_t bytes, bool& is_zero) {
  is_zero = false;
  const size_t size = round_up(std::max<size_t>(bytes, 1), alignment);
  const std::scoped_lock lock(mutex_);
  if (size < bytes || size > limit_ - std::min(stats_.in_use, limit_)) fail_out_of_memory(bytes);
  // Not rounded up, so that the first byte beyond the block is guarded.
  void* block = nullptr;
  if (posix_memalign(&block, alignment, std::max<size_t>(bytes, 1)) != 0) fail_out_of_memory(bytes);
  std::memset(block, 0xFF, bytes);  // NaN: nothing may depend on what was there
  stats_.in_use += size;
  stats_.peak_in_use = std::max(stats_.peak_in_use, stats_.in_use);
  stats_.reserved = stats_.peak_reserved = std::max(stats_.reserved, stats_.in_use);
  return block;
}

void Arena::deallocate(void* pointer, size_t bytes) {
  const std::scoped_lock lock(mutex_);
  stats_.in_use -= round_up(std::max<size_t>(bytes, 1), alignment);
  std::free(pointer);
}

#else

Arena::~Arena() {
  if (base_ != nullptr) munmap(base_, range_bytes_);
}

void* Arena::allocate(size_t bytes, bool& is_zero) {
  const size_t size = round_up(std::max<size_t>(bytes, 1), alignment);
  const std::scoped_lock lock(mutex_);
  if (size < bytes) fail_out_of_memory(bytes);  // wrapped around
  std::byte* block = free_.take(size);
  if (block == nullptr) block = grow(size);
  if (block == nullptr) fail_out_of_memory(bytes);
  stats_.in_use += size;
  stats_.peak_in_use = std::max(stats_.peak_in_use, stats_.in_use);
  is_zero = block >= base_ + touched_;
  touched_ = std::max(touched_, static_cast<size_t>(block - base_) + size);
  return block;
}

void Arena::deallocate(void* pointer, size_t bytes) {
  const std::scoped_lock lock(mutex_);
  const size_t size = round_up(std::max<size_t>(bytes, 1), alignment);
  stats_.in_use -= size;
  free_.put(static_cast<std::byte*>(pointer), size);
}

#endif

void* Arena::allocate(size_t bytes) {
  bool is_zero = false;
  return allocate(bytes, is_zero);
}

/// Takes addresses only; memory comes with grow(). Halves the wish where a limit on addresses (ulimit -v)
/// refuses it.
void Arena::reserve_addresses() {
  for (range_bytes_ = round_up(limit_, growth_step); range_bytes_ >= growth_step; range_bytes_ /= 2) {
    void* range = mmap(nullptr, range_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) continue;
    base_ = static_cast<std::byte*>(range);
    // Huge pages: fewer page faults and misses of the address cache. Only a wish: a refusal does no harm.
    madvise(base_, range_bytes_, MADV_HUGEPAGE);
    return;
  }
  range_bytes_ = 0;
}

/// Extends the usable part of the range so that its end holds a block of `bytes`; null if that passes the
/// limit.
std::byte* Arena::grow(size_t bytes) {
  if (base_ == nullptr) reserve_addresses();
  const size_t most = std::min(limit_, range_bytes_) / alignment * alignment;
  const size_t missing = bytes - free_.bytes_at_end(base_ + extent_);
  if (missing > most - extent_) return nullptr;
  const size_t growth = std::min(round_up(missing, growth_step), most - extent_);
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t new_end = std::min(round_up(extent_ + growth, page), range_bytes_);
  if (mprotect(base_, new_end, PROT_READ | PROT_WRITE) != 0) return nullptr;
  free_.put(base_ + extent_, growth);
  extent_ += growth;
  stats_.reserved = stats_.peak_reserved = extent_;  // it only grows
  ++stats_.system_allocations;
  return free_.take(bytes);
}

void Arena::fail_out_of_memory(size_t bytes) const {
  const size_t free_bytes = limit_ - std::min(limit_, stats_.in_use);
  fail(ErrorKind::out_of_memory,
       "out of memory on cpu: asked for {} bytes, {} of {} bytes are free, tensors hold {}; use a smaller "
       "batch "
       "or shorter sequences",
       bytes, free_bytes, limit_, stats_.in_use);
}

AllocatorStats Arena::stats() const {
  const std::scoped_lock lock(mutex_);
  return stats_;
}

void Arena::reset_peak() {
  const std::scoped_lock lock(mutex_);
  stats_.peak_in_use = stats_.in_use;
}

}  // namespace normtune
