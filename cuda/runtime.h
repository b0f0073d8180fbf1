#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

#include "tensor/device.h"

namespace normtune::cuda {

/// Throws unless `code` is success: Error(out_of_memory) or Error(internal) that names the call and CUDA's
/// reason. An error of an earlier kernel may show in a later call only.
void check_cuda(cudaError_t code, std::string_view call);
/// Throws Error(out_of_memory) that names the call and what is free on the device in use.
[[noreturn]] void fail_for_memory(std::string_view call);

/// Which stream's kernels a device begins first where several are ready.
enum class Priority { high, low };

/// An event that takes no time, on the current device.
cudaEvent_t make_event();

/// A stream of a device: what is enqueued on it runs in order.
class Stream {
 public:
  /// Throws Error(usage) if the machine has no such device, one below compute capability 8.0, or too old a
  /// driver.
  Stream(int device_index, Priority priority);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device device() const { return {DeviceType::cuda, device_index_}; }
  /// The stream, with its device made the calling thread's current one.
  cudaStream_t use() const;
  /// The stream, for a caller that has made its device current.
  cudaStream_t get() const { return stream_; }
  void synchronize() const;

 private:
  int device_index_;
  cudaStream_t stream_ = nullptr;  // never destroyed: backends live until the process ends
};

}  // namespace normtune::cuda
