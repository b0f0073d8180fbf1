#include "tests/cuda/stand_in/capture.h"
#include "tests/cuda/stand_in/machine.h"
#include "tests/cuda/stand_in/memory.h"

using namespace normtune::stand_in;

namespace {

/// An event of a capture, or one that was recorded there last, is nothing that the host can wait for.
cudaError_t check_not_captured(const CUevent_st& event) {
  if (event.capture == nullptr) return cudaSuccess;
  return invalidate(*event.capture, cudaErrorCapturedEvent);
}

cudaError_t wait_for_captured(CUstream_st& stream, const CUevent_st& event) {
  if (event.capture->has_ended) return cudaErrorCapturedEvent;
  if (event.capture->is_invalid) return cudaErrorStreamCaptureInvalidated;
  if (stream.capture == nullptr) join(stream, event.capture);
  if (stream.capture != event.capture) {
    invalidate(*stream.capture, cudaErrorStreamCaptureMerge);
    return invalidate(*event.capture, cudaErrorStreamCaptureMerge);
  }
  stream.tail.insert(stream.tail.end(), event.tail.begin(), event.tail.end());
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call("cudaEventCreateWithFlags", [&] {
    if ((flags & ~(cudaEventDisableTiming | cudaEventBlockingSync)) != 0) misuse("flags of cudaEventCreate");
    const bool has_time = (flags & cudaEventDisableTiming) == 0;
    *event = new CUevent_st{.device = current_device(), .has_time = has_time};
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call("cudaEventDestroy", [&] {
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    delete event;
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return call("cudaEventRecord", [&] {
    if (stream == nullptr) misuse("the legacy stream");
    if (event == nullptr || event->device != stream->device) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr && stream->capture->is_invalid) return cudaErrorStreamCaptureInvalidated;
    event->capture = stream->capture;
    event->tail = {};
    event->recorded = nullptr;
    if (stream->capture != nullptr) {
      event->tail = stream->tail;
    } else {
      event->recorded = enqueue(*stream, {}).operation;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  return call("cudaStreamWaitEvent", [&] {
    if (flags != 0) misuse("flags of cudaStreamWaitEvent");
    if (stream == nullptr) misuse("the legacy stream");
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    if (event->capture != nullptr) return wait_for_captured(*stream, *event);
    if (event->recorded == nullptr) return cudaSuccess;
    if (stream->capture != nullptr) return invalidate(*stream->capture, cudaErrorStreamCaptureIsolation);
    stream->tail.push_back(event->recorded);
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call("cudaEventSynchronize", [&] {
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    const cudaError_t error = check_not_captured(*event);
    if (error != cudaSuccess) return error;
    wait_for(event->recorded);
    return cudaSuccess;
  });
}

/// The first to ask is told to come again.
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call("cudaEventQuery", [&] {
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    const cudaError_t error = check_not_captured(*event);
    if (error != cudaSuccess) return error;
    if (event->recorded == nullptr || event->recorded->is_done) {
      wait_for(event->recorded);
      return cudaSuccess;
    }
    run_towards(event->recorded);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return call("cudaEventElapsedTime", [&] {
    for (const cudaEvent_t event : {start, end}) {
      if (event == nullptr || !event->has_time || event->recorded == nullptr) {
        return cudaErrorInvalidResourceHandle;
      }
      if (!event->recorded->is_done) return cudaErrorNotReady;
    }
    const auto elapsed = end->recorded->when_done - start->recorded->when_done;
    *milliseconds = std::chrono::duration<float, std::milli>(elapsed).count();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return call("cudaStreamSynchronize", [&] {
    if (stream == nullptr) misuse("the legacy stream");
    if (stream->capture != nullptr) return invalidate(*stream->capture, cudaErrorStreamCaptureUnsupported);
    ++counts().waits;
    wait_for(enqueue(*stream, {}).operation);
    release_after_wait(stream->device);
    return cudaSuccess;
  });
}

}  // extern "C"
