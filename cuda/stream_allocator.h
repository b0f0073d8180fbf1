#pragma once

#include <cuda_runtime_api.h>

#include <mutex>

#include "cuda/runtime.h"
#include "tensor/allocator.h"

namespace normtune::cuda {

/// Memory of a device in the order of its stream: a block given back is handed out again at once, because
/// whatever still uses it is enqueued before whatever will use it next. CUDA's memory pool keeps what was
/// given back, so that a training step that repeats the allocations of the last one asks the system for
/// nothing.
class StreamAllocator final : public Allocator {
 public:
  explicit StreamAllocator(const Stream& stream);

  void* allocate(size_t bytes) override;
  void* allocate(size_t bytes, bool& is_zero) override;
  void deallocate(void* pointer, size_t bytes) override;
  AllocatorStats stats() const override;
  void reset_peak() override;

 private:
  cudaError_t try_allocate(void** block, size_t bytes);
  [[noreturn]] void fail_out_of_memory(size_t bytes) const;
  size_t reserved() const;

  const Stream& stream_;
  cudaMemPool_t pool_ = nullptr;
  mutable std::mutex mutex_;
  AllocatorStats stats_;
};

}  // namespace normtune::cuda
