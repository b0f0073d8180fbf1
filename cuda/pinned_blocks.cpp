#include "cuda/pinned_blocks.h"

#include <cstring>

namespace normtune::cuda {

namespace {

// 4 MB. A batch has about ten arrays of some kilobytes each.
constexpr size_t num_blocks = 64, bytes_of_block = size_t{64} << 10;

}  // namespace

PinnedBlocks::PinnedBlocks(const Stream& stream) : stream_(stream), copied_(num_blocks) {
  stream_.use();
  void* memory = nullptr;
  check_cuda(cudaHostAlloc(&memory, num_blocks * bytes_of_block, cudaHostAllocDefault), "cudaHostAlloc");
  memory_ = static_cast<std::byte*>(memory);
  for (cudaEvent_t& event : copied_) event = make_event();
}

size_t PinnedBlocks::block_bytes() const {
  return bytes_of_block;
}

void PinnedBlocks::send(size_t block, void* destination, const std::byte* source, size_t bytes) {
  std::byte* staged = memory_ + block * bytes_of_block;
  std::memcpy(staged, source, bytes);
  const cudaStream_t on = stream_.use();
  check_cuda(cudaMemcpyAsync(destination, staged, bytes, cudaMemcpyHostToDevice, on), "cudaMemcpyAsync");
  check_cuda(cudaEventRecord(copied_[block], on), "cudaEventRecord");
}

void PinnedBlocks::wait(size_t block) {
  check_cuda(cudaEventSynchronize(copied_[block]), "cudaEventSynchronize");
}

}  // namespace normtune::cuda
