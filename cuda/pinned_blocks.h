#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

#include "cuda/runtime.h"

namespace normtune::cuda {

/// Blocks of page-locked host memory for a StagingRing. The device fetches from them by itself, while a copy
/// from any other memory may return only when it is done. Lives as long as the process, like the stream.
class PinnedBlocks {
 public:
  explicit PinnedBlocks(const Stream& stream);

  size_t size() const { return copied_.size(); }
  size_t block_bytes() const;
  void send(size_t block, void* destination, const std::byte* source, size_t bytes);
  void wait(size_t block);

 private:
  const Stream& stream_;
  std::byte* memory_ = nullptr;
  std::vector<cudaEvent_t> copied_;  // of each block: its last copy is done
};

}  // namespace normtune::cuda
