#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

// Device memory: a reserved range of addresses that can be touched while operations run, and at no other
// time. Blocks hold NaN when they are new and after they were given back, in the order of their stream, and
// are followed by guard bytes.

namespace normtune::stand_in {

/// Access to device memory, while at least one such object lives.
class MemoryAccess {
 public:
  MemoryAccess();
  ~MemoryAccess();
  MemoryAccess(const MemoryAccess&) = delete;
  MemoryAccess& operator=(const MemoryAccess&) = delete;
};

/// Throws unless the bytes lie in one block of device memory that was asked for and not given back, as the
/// host sees it.
void require_device_memory(const void* begin, size_t bytes);
/// Throws if one of the bytes is device memory.
void require_host_memory(const void* begin, size_t bytes);

/// The host has waited for a stream: the device's pool gives back what it may not keep.
void release_after_wait(int device);

/// Of a device: what a pool or cudaMalloc holds.
size_t taken_bytes(int device);

}  // namespace normtune::stand_in
