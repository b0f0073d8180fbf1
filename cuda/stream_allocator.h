#pragma once

#include <cuda_runtime_api.h>

#include <mutex>
#include <utility>
#include <vector>

#include "cuda/runtime.h"
#include "tensor/allocator.h"
#include "tensor/captured_memory.h"

namespace normtune::cuda {

/// Memory of a device in the order of its main stream: a block given back is handed out again at once,
/// because whatever still uses it is enqueued before whatever will use it next. CUDA's memory pool keeps what
/// was given back, so that a training step that repeats the allocations of the last one asks the system for
/// nothing. For captured work, and its rehearsals, memory comes from CapturedMemory.
class StreamAllocator final : public Allocator {
 public:
  explicit StreamAllocator(const Stream& stream);

  void* allocate(size_t bytes) override;
  void* allocate(size_t bytes, bool& is_zero) override;
  void deallocate(void* pointer, size_t bytes) override;
  AllocatorStats stats() const override;
  void reset_peak() override;

  void begin_capture();
  void end_capture();
  /// Throws if memory could not be given back, which deallocate() has nobody to tell. allocate() does so too.
  void report_failed_free();

 private:
  struct FailedCall {
    const char* name = "";
    cudaError_t code = cudaSuccess;
  };

  void* allocate_from_pool(size_t bytes);
  std::byte* allocate_chunk(size_t bytes);
  void trim_pool();
  void note_reserved();
  cudaError_t try_allocate(void** block, size_t bytes);
  void give_back_to_pool(void* block);
  void note_failed_free(const char* call, cudaError_t code);
  void throw_failed_free();
  [[noreturn]] void fail_out_of_memory(size_t bytes) const;
  size_t reserved() const;

  const Stream& stream_;
  cudaMemPool_t pool_ = nullptr;
  mutable std::mutex mutex_;
  AllocatorStats stats_;
  CapturedMemory captured_;
  size_t chunk_bytes_ = 0;                               // of captured_
  std::vector<std::pair<void*, size_t>> to_deallocate_;  // when the capture has ended
  FailedCall failed_free_;                               // the first that nobody was told of
};

}  // namespace normtune::cuda
