#include "cuda/stream_allocator.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "tensor/error.h"

namespace normtune::cuda {

StreamAllocator::StreamAllocator(const Stream& stream)
    : stream_(stream), captured_([this](size_t bytes) { return allocate_chunk(bytes); }) {
  stream_.use();
  check_cuda(cudaDeviceGetDefaultMemPool(&pool_, stream_.device().index), "cudaDeviceGetDefaultMemPool");
  uint64_t keep = std::numeric_limits<uint64_t>::max();  // never give back to the system by itself
  check_cuda(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep),
             "cudaMemPoolSetAttribute");
}

void* StreamAllocator::allocate(size_t bytes) {
  bool is_zero = false;
  return allocate(bytes, is_zero);
}

void* StreamAllocator::allocate(size_t bytes, bool& is_zero) {
  is_zero = false;
  const std::scoped_lock lock(mutex_);
  throw_failed_free();
  return captured_.is_capturing() ? captured_.allocate(bytes) : allocate_from_pool(bytes);
}

void* StreamAllocator::allocate_from_pool(size_t bytes) {
  void* block = nullptr;
  cudaError_t code = try_allocate(&block, std::max<size_t>(bytes, 1));
  if (code == cudaErrorMemoryAllocation) {
    // Free memory may lie in pieces that are too small: give them back and ask once more.
    cudaGetLastError();
    trim_pool();
    code = try_allocate(&block, std::max<size_t>(bytes, 1));
  }
  if (code == cudaErrorMemoryAllocation) fail_out_of_memory(bytes);
  check_cuda(code, "cudaMallocFromPoolAsync");
  stats_.in_use += bytes;
  note_reserved();
  return block;
}

/// Gives back to the system what the pool keeps for later: all of it, but for what the host has not seen to
/// be free while the stream, captured, cannot be waited for.
void StreamAllocator::trim_pool() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream_.use(), &status), "cudaStreamIsCapturing");
  if (status == cudaStreamCaptureStatusNone) stream_.synchronize();
  check_cuda(cudaMemPoolTrimTo(pool_, 0), "cudaMemPoolTrimTo");
  stats_.reserved = reserved();
}

/// For captured work. The stream cannot serve it: in a capture it would note the request instead.
std::byte* StreamAllocator::allocate_chunk(size_t bytes) {
  trim_pool();  // chunks stay, and need what it keeps more
  void* chunk = nullptr;
  const cudaError_t code = cudaMalloc(&chunk, bytes);
  if (code == cudaErrorMemoryAllocation) fail_out_of_memory(bytes);
  check_cuda(code, "cudaMalloc");
  chunk_bytes_ += bytes;
  stats_.in_use += bytes;
  note_reserved();
  return static_cast<std::byte*>(chunk);
}

void StreamAllocator::note_reserved() {
  stats_.peak_in_use = std::max(stats_.peak_in_use, stats_.in_use);
  const size_t now_reserved = reserved();
  if (now_reserved > stats_.reserved) ++stats_.system_allocations;
  stats_.reserved = now_reserved;
  stats_.peak_reserved = std::max(stats_.peak_reserved, now_reserved);
}

void StreamAllocator::begin_capture() {
  const std::scoped_lock lock(mutex_);
  captured_.begin_capture();
}

void StreamAllocator::end_capture() {
  {
    const std::scoped_lock lock(mutex_);
    captured_.end_capture();
  }
  for (const auto& [block, bytes] : std::exchange(to_deallocate_, {})) deallocate(block, bytes);
}

cudaError_t StreamAllocator::try_allocate(void** block, size_t bytes) {
  return cudaMallocFromPoolAsync(block, bytes, pool_, stream_.use());
}

void StreamAllocator::deallocate(void* pointer, size_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (captured_.owns(pointer)) return captured_.deallocate(pointer, bytes);
  if (captured_.is_capturing()) {
    to_deallocate_.emplace_back(pointer, bytes);  // the stream would note it as a part of the captured work
    return;
  }
  stats_.in_use -= bytes;
  give_back_to_pool(pointer);
}

/// Tensors end in destructors, the last of them after CUDA itself: a failure waits for somebody to tell.
void StreamAllocator::give_back_to_pool(void* block) {
  const cudaError_t chosen = cudaSetDevice(stream_.device().index);
  if (chosen != cudaSuccess) return note_failed_free("cudaSetDevice", chosen);
  const cudaError_t freed = cudaFreeAsync(block, stream_.get());
  if (freed != cudaSuccess) note_failed_free("cudaFreeAsync", freed);
}

void StreamAllocator::note_failed_free(const char* call, cudaError_t code) {
  cudaGetLastError();  // or another call would find it
  if (failed_free_.code == cudaSuccess) failed_free_ = {call, code};
}

void StreamAllocator::throw_failed_free() {
  const FailedCall failed = std::exchange(failed_free_, {});
  check_cuda(failed.code, failed.name);
}

void StreamAllocator::report_failed_free() {
  const std::scoped_lock lock(mutex_);
  throw_failed_free();
}

size_t StreamAllocator::reserved() const {
  uint64_t bytes = 0;
  check_cuda(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrReservedMemCurrent, &bytes),
             "cudaMemPoolGetAttribute");
  return bytes + chunk_bytes_;
}

void StreamAllocator::fail_out_of_memory(size_t bytes) const {
  cudaGetLastError();
  size_t free_bytes = 0, total_bytes = 0;
  check_cuda(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");
  const size_t cached = stats_.reserved - std::min(stats_.reserved, stats_.in_use);
  fail(ErrorKind::out_of_memory,
       "out of memory on {}: asked for {} bytes, {} of {} bytes are free, tensors hold {}, {} are kept for "
       "later tensors; use a smaller batch or shorter sequences",
       to_string(stream_.device()), bytes, free_bytes, total_bytes, stats_.in_use, cached);
}

AllocatorStats StreamAllocator::stats() const {
  const std::scoped_lock lock(mutex_);
  return stats_;
}

void StreamAllocator::reset_peak() {
  const std::scoped_lock lock(mutex_);
  stats_.peak_in_use = stats_.in_use;
  stats_.peak_reserved = stats_.reserved;
}

}  // namespace normtune::cuda
