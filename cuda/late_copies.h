#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/runtime.h"
#include "tensor/backend.h"

namespace normtune::cuda {

/// Copies from a device to page-locked host memory, which the device writes to by itself when their turn
/// comes. Their places on the host are used again; so this lives as long as the process, like the stream.
class LateCopies {
 public:
  explicit LateCopies(const Stream& stream) : stream_(stream) {}

  std::unique_ptr<LateCopy> copy(const void* device_source, size_t bytes);

 private:
  struct Place {
    std::byte* memory = nullptr;
    size_t bytes = 0;
    cudaEvent_t copied = nullptr;  // the last copy to the place is done
  };
  class CopyToPlace;

  Place take_place(size_t bytes);
  void give_back(Place place);

  const Stream& stream_;
  std::mutex mutex_;
  std::vector<Place> free_places_;
};

}  // namespace normtune::cuda
