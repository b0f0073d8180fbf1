#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <vector>

#include "cuda/runtime.h"

namespace normtune::cuda {

/// The stream of a WorkBeside: `side` beside `main`, tied to each other by events alone, so that a capture of
/// the main stream takes both. Lives as long as the process, like the streams.
class SideStream {
 public:
  SideStream(const Stream& main, const Stream& side, size_t num_slots);

  void run(size_t slot, const std::function<void()>& work);
  void wait(size_t slot);

 private:
  const Stream& main_;
  const Stream& side_;
  cudaEvent_t begun_ = nullptr;    // the main stream has come to where the last work begins
  std::vector<cudaEvent_t> done_;  // of each slot: its last work
};

}  // namespace normtune::cuda
