#pragma once

#include <cstddef>
#include <cstdint>

namespace normtune {

/// What an allocator holds, in bytes, and how often it had to ask the system.
struct AllocatorStats {
  size_t in_use = 0;               ///< handed out and not yet given back
  size_t peak_in_use = 0;          ///< the largest value of in_use since the last reset_peak()
  size_t reserved = 0;             ///< obtained from the system and not given back to it
  size_t peak_reserved = 0;        ///< the largest value of reserved since the last reset_peak()
  int64_t system_allocations = 0;  ///< requests to the system so far; constant in a steady-state step
};

/// Serves the memory of tensors on one device. Thread-safe.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// Returns at least `bytes` bytes, aligned to 64. Throws Error(out_of_memory) naming asked and held bytes.
  virtual void* allocate(size_t bytes) = 0;
  /// The same. `is_zero` becomes true if the block still holds the zeros that the system gives: nobody needs
  /// to write them, and pages that nobody writes cost no memory.
  virtual void* allocate(size_t bytes, bool& is_zero) = 0;
  virtual void deallocate(void* pointer, size_t bytes) = 0;
  virtual AllocatorStats stats() const = 0;
  virtual void reset_peak() = 0;
};

}  // namespace normtune
