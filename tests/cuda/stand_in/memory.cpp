#include "tests/cuda/stand_in/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "tests/cuda/stand_in/capture.h"
#include "tests/cuda/stand_in/machine.h"

using namespace normtune::stand_in;

struct CUmemPoolHandle_st {
  int device;
  uint64_t release_threshold = 0;
};

namespace normtune::stand_in {

namespace {

constexpr size_t range_bytes = size_t{64} << 30;  // of addresses; pages come as they are used
constexpr size_t page = size_t{2} << 20;          // large ones, whose rights change quickly
constexpr size_t guard_bytes = 256;
constexpr int guard_value = 0x5A;

struct Block {
  size_t bytes = 0, size = 0;  // asked for, and with guard bytes
  int device = 0;
  bool is_held = false;     // as the host sees it
  bool is_of_pool = false;  // of the device's pool, which keeps what it is given back
  OperationPtr last_free;   // where it was given back last
};

class DeviceMemory {
 public:
  DeviceMemory() {
    void* range =
        mmap(nullptr, range_bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) misuse("no addresses for device memory");
    const uintptr_t first_page = (reinterpret_cast<uintptr_t>(range) + page - 1) / page * page;
    base_ = reinterpret_cast<std::byte*>(first_page);
    madvise(base_, range_bytes, MADV_HUGEPAGE);
  }

  void begin_access() {
    if (users_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void end_access() {
    if (--users_ == 0) protect(PROT_NONE);
  }

  /// A block of the pool that can be used on this stream: given back there, or seen to be free.
  std::byte* find_free(size_t size, const CUstream_st& stream) {
    const auto is_usable = [&](const std::byte* address) {
      const Block& block = blocks_.at(address);
      return block.device == stream.device &&
             (block.last_free->stream == stream.index || block.last_free->is_done);
    };
    std::vector<std::byte*>& free_blocks = free_[size];
    const auto found = std::find_if(free_blocks.rbegin(), free_blocks.rend(), is_usable);
    if (found == free_blocks.rend()) return nullptr;
    std::byte* address = *found;
    free_blocks.erase(std::next(found).base());
    return address;
  }

  /// Null where the device has no such piece left.
  std::byte* extend(size_t size, int device) {
    if (taken_[device] + size > machine().memory_bytes) return nullptr;
    taken_[device] += size;
    if (used_ + size > range_bytes) misuse("the addresses of device memory are used up");
    std::byte* address = base_ + used_;
    used_ += size;
    if (users_ > 0) protect(PROT_READ | PROT_WRITE);
    return address;
  }

  /// Gives back what is seen to be free.
  void trim(int device) {
    for (auto& [size, free_blocks] : free_) {
      std::erase_if(free_blocks, [&, bytes = size](const std::byte* address) {
        const Block& block = blocks_.at(address);
        if (block.device != device || !block.last_free->is_done) return false;
        taken_[device] -= bytes;
        reserved_[device] -= bytes;
        give_back_pages(address, bytes);
        blocks_.erase(address);
        return true;
      });
    }
  }

  Block& hold(std::byte* address, size_t bytes, size_t size, int device, bool is_of_pool) {
    Block& block = blocks_[address];
    block = {bytes, size, device, true, is_of_pool, nullptr};
    return block;
  }
  void put_free(std::byte* address) { free_[blocks_.at(address).size].push_back(address); }

  /// The block that begins at or before an address; null if none does.
  Block* block_before(const void* address, const std::byte*& begin) {
    auto after = blocks_.upper_bound(static_cast<const std::byte*>(address));
    if (after == blocks_.begin()) return nullptr;
    --after;
    begin = after->first;
    return &after->second;
  }

  bool overlaps(const void* begin, size_t bytes) const {
    const auto* first = static_cast<const std::byte*>(begin);
    return first < base_ + range_bytes && first + bytes > base_;
  }
  size_t& reserved(int device) { return reserved_[device]; }
  size_t taken(int device) { return taken_[device]; }

 private:
  void protect(int rights) {
    mprotect(base_, std::min((used_ + page - 1) / page * page, range_bytes), rights);
  }

  /// Those that lie in a block as a whole.
  void give_back_pages(const std::byte* block, size_t bytes) {
    const auto offset = static_cast<size_t>(block - base_);
    const size_t begin = (offset + page - 1) / page * page, end = (offset + bytes) / page * page;
    if (begin < end) madvise(base_ + begin, end - begin, MADV_DONTNEED);
  }

  std::byte* base_ = nullptr;
  size_t used_ = 0;
  int users_ = 0;
  std::map<const std::byte*, Block> blocks_;
  std::map<size_t, std::vector<std::byte*>> free_;  // of the pools, by size
  std::map<int, size_t> taken_, reserved_;          // of a device, and of its pool
};

DeviceMemory& memory() {
  static auto& memory = *new DeviceMemory;
  return memory;
}

CUmemPoolHandle_st& pool_of(int device) {
  static auto& pools = *new std::map<int, CUmemPoolHandle_st>;
  return pools.try_emplace(device, CUmemPoolHandle_st{.device = device}).first->second;
}

size_t size_for(size_t bytes) {
  return (bytes + guard_bytes + 511) / 512 * 512;
}

/// Whoever reads what was not written, or was given back, shall find NaN.
void fill_with_nan(std::byte* block, size_t bytes, size_t size) {
  std::memset(block, 0xFF, bytes);
  std::memset(block + bytes, guard_value, size - bytes);
}

void check_guard(const std::byte* block, size_t bytes, size_t size) {
  const auto untouched = [](std::byte byte) { return byte == std::byte{guard_value}; };
  if (!std::all_of(block + bytes, block + size, untouched)) misuse("a write beyond the end of a block");
}

cudaError_t allocate_from_pool(void** pointer, size_t bytes, const CUmemPoolHandle_st& pool,
                               CUstream_st& stream) {
  const size_t size = size_for(bytes);
  std::byte* block = memory().find_free(size, stream);
  if (block == nullptr) {
    block = memory().extend(size, pool.device);
    if (block == nullptr) return cudaErrorMemoryAllocation;
    memory().reserved(pool.device) += size;
  }
  memory().hold(block, bytes, size, pool.device, true);
  *pointer = block;
  return enqueue(stream, [=] { fill_with_nan(block, bytes, size); }).error;
}

void free_to_pool(void* pointer, CUstream_st& stream) {
  const std::byte* begin = nullptr;
  Block* block = memory().block_before(pointer, begin);
  if (block == nullptr || begin != pointer || !block->is_held)
    misuse("memory that is not there is given back");
  if (!block->is_of_pool) misuse("cudaFreeAsync of memory of cudaMalloc");
  block->is_held = false;
  auto* address = static_cast<std::byte*>(pointer);
  block->last_free = enqueue(stream, [address, bytes = block->bytes, size = block->size] {
                       check_guard(address, bytes, size);
                       fill_with_nan(address, bytes, size);
                     }).operation;
  memory().put_free(address);
}

}  // namespace

MemoryAccess::MemoryAccess() {
  memory().begin_access();
}

MemoryAccess::~MemoryAccess() {
  memory().end_access();
}

void require_device_memory(const void* first, size_t bytes) {
  const std::byte* begin = nullptr;
  const Block* block = memory().block_before(first, begin);
  if (block == nullptr || !block->is_held ||
      static_cast<const std::byte*>(first) + bytes > begin + block->bytes) {
    misuse("bytes that are no device memory, or go beyond the end of a block");
  }
}

void require_host_memory(const void* first, size_t bytes) {
  if (memory().overlaps(first, bytes)) misuse("device memory where host memory belongs");
}

void release_after_wait(int device) {
  if (memory().reserved(device) > pool_of(device).release_threshold) memory().trim(device);
}

size_t taken_bytes(int device) {
  return memory().taken(device);
}

}  // namespace normtune::stand_in

extern "C" {

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  return call("cudaDeviceGetDefaultMemPool", [&] {
    *pool = &pool_of(device);
    return cudaSuccess;
  });
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  return call("cudaMemPoolSetAttribute", [&] {
    if (attribute != cudaMemPoolAttrReleaseThreshold) misuse("an attribute of pools that it does not have");
    pool->release_threshold = *static_cast<uint64_t*>(value);
    return cudaSuccess;
  });
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  return call("cudaMemPoolGetAttribute", [&] {
    if (attribute != cudaMemPoolAttrReservedMemCurrent) misuse("an attribute of pools that it does not have");
    *static_cast<uint64_t*>(value) = memory().reserved(pool->device);
    return cudaSuccess;
  });
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes_to_keep) {
  return call("cudaMemPoolTrimTo", [&] {
    if (bytes_to_keep != 0) misuse("cudaMemPoolTrimTo that keeps something");
    memory().trim(pool->device);
    return cudaSuccess;
  });
}

cudaError_t cudaMallocFromPoolAsync(void** pointer, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  return call("cudaMallocFromPoolAsync", [&] {
    if (bytes == 0) return cudaErrorInvalidValue;
    if (stream->capture != nullptr) misuse("memory as a node of a graph");
    return allocate_from_pool(pointer, bytes, *pool, *stream);
  });
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  return call("cudaFreeAsync", [&] {
    if (stream->capture != nullptr) return invalidate(*stream->capture, cudaErrorInvalidValue);
    free_to_pool(pointer, *stream);
    return cudaSuccess;
  });
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  return call("cudaMalloc", [&] {
    const cudaError_t error = check_unobserved_call();
    if (error != cudaSuccess) return error;
    const size_t size = size_for(bytes);
    std::byte* block = memory().extend(size, current_device());
    if (block == nullptr) return cudaErrorMemoryAllocation;
    memory().hold(block, bytes, size, current_device(), false);
    *pointer = block;
    const MemoryAccess access;
    fill_with_nan(block, bytes, size);
    return cudaSuccess;
  });
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned flags) {
  return call("cudaHostAlloc", [&] {
    if (flags != cudaHostAllocDefault) misuse("flags of cudaHostAlloc");
    const cudaError_t error = check_unobserved_call();
    if (error != cudaSuccess) return error;
    *pointer = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    std::memset(*pointer, 0xFF, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaFreeHost(void* pointer) {
  return call("cudaFreeHost", [&] {
    std::free(pointer);
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  return call("cudaMemGetInfo", [&] {
    *total_bytes = machine().memory_bytes;
    *free_bytes = *total_bytes - std::min(*total_bytes, memory().taken(current_device()));
    return cudaSuccess;
  });
}

/// Reads and writes host memory, page-locked or not, when its turn comes: the documentation says of other
/// memory only that the call *might* wait.
cudaError_t cudaMemcpyAsync(void* destination, const void* source, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call("cudaMemcpyAsync", [&] {
    if (bytes == 0) return cudaSuccess;
    const bool from_host = kind == cudaMemcpyHostToDevice, to_host = kind == cudaMemcpyDeviceToHost;
    if (!from_host && !to_host && kind != cudaMemcpyDeviceToDevice) misuse("a kind of copy");
    if ((from_host || to_host) && stream->capture != nullptr) misuse("host memory in a graph");
    from_host ? require_host_memory(source, bytes) : require_device_memory(source, bytes);
    to_host ? require_host_memory(destination, bytes) : require_device_memory(destination, bytes);
    return enqueue(*stream, [=] { std::memcpy(destination, source, bytes); }).error;
  });
}

}  // extern "C"
