#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "tests/cuda/stand_in/streams.h"

namespace normtune::stand_in {

/// A capture under way: the stream in which it began, and those that events have pulled into it.
struct Capture {
  CUstream_st* origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  std::vector<CUstream_st*> streams;
  std::vector<OperationPtr> operations;            // in the order of the calls
  std::map<const void*, OperationPtr> workspaces;  // of products, and the last operation that writes to each
  bool is_invalid = false, has_ended = false;
};

/// A stream waits for an event of the capture, and is part of it from then on.
void join(CUstream_st& stream, const std::shared_ptr<Capture>& capture);

/// For calls that a captured stream, or an event recorded there, does not allow: the capture is lost.
cudaError_t invalidate(Capture& capture, cudaError_t error);

/// Says that an operation, which was just enqueued, writes to a workspace: nothing else may at that time.
void use_workspace(const void* workspace, const CUstream_st& stream, const OperationPtr& operation);

bool is_any_capture_under_way();

/// For calls that no capture observes, like cudaMalloc: an error where a capture of this thread forbids them,
/// or a global one of another.
cudaError_t check_unobserved_call();

}  // namespace normtune::stand_in
