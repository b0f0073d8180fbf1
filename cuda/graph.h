#pragma once

#include <cuda_runtime_api.h>

#include <functional>

#include "cuda/runtime.h"
#include "tensor/backend.h"

namespace normtune::cuda {

/// A CUDA graph: the kernels, copies and dependencies that a stream was asked for in a capture, enqueued with
/// one call.
class Graph final : public CapturedWork {
 public:
  /// Captures what `work` enqueues on the stream.
  Graph(const Stream& stream, const std::function<void()>& work);
  ~Graph() override;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void replay() override;

 private:
  const Stream& stream_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace normtune::cuda
