#include "cuda/runtime.h"

#include "cuda/cuda_backend.h"
#include "tensor/error.h"

namespace normtune::cuda {

namespace {

int count_devices(int wanted) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess || count == 0) {
    fail(ErrorKind::usage, "device cuda:{}: no CUDA device can be used here ({}); use --device cpu", wanted,
         code == cudaSuccess ? "none found" : cudaGetErrorString(code));
  }
  return count;
}

/// Kernels have arguments of up to 32 KB, which drivers for earlier versions do not pass.
void check_driver(int index) {
  constexpr int oldest = 12010;  // 12.1
  int version = 0;
  check_cuda(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
  if (version >= oldest) return;
  fail(ErrorKind::usage,
       "device cuda:{}: expected a driver for CUDA 12.1 or later (530 or later), found one for CUDA {}.{}; "
       "update it, or use --device cpu",
       index, version / 1000, version % 1000 / 10);
}

void check_device(int index) {
  const int count = count_devices(index);
  if (index >= count) {
    fail(ErrorKind::usage, "device cuda:{}: expected a device from cuda:0 to cuda:{}", index, count - 1);
  }
  int major = 0, minor = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index),
             "cudaDeviceGetAttribute");
  check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index),
             "cudaDeviceGetAttribute");
  if (major < 8) {
    fail(ErrorKind::usage,
         "device cuda:{}: expected compute capability 8.0 or later, found {}.{}; use --device cpu", index,
         major, minor);
  }
  check_driver(index);
}

}  // namespace

void check_cuda(cudaError_t code, std::string_view call) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // forget it, so that it is not reported again by the next call
  if (code == cudaErrorMemoryAllocation) fail_for_memory(call);
  fail(ErrorKind::internal, "CUDA: {} failed: {} ({})", call, cudaGetErrorString(code),
       cudaGetErrorName(code));
}

void fail_for_memory(std::string_view call) {
  size_t free_bytes = 0, total_bytes = 0;  // zero if not even these can be had
  cudaMemGetInfo(&free_bytes, &total_bytes);
  cudaGetLastError();
  fail(ErrorKind::out_of_memory,
       "out of memory on a CUDA device in {}: {} of {} bytes are free; use a smaller batch or shorter "
       "sequences",
       call, free_bytes, total_bytes);
}

cudaEvent_t make_event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return event;
}

Stream::Stream(int device_index, Priority priority) : device_index_(device_index) {
  check_device(device_index);
  check_cuda(cudaSetDevice(device_index), "cudaSetDevice");
  int lowest = 0, highest = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "cudaDeviceGetStreamPriorityRange");
  check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking,
                                          priority == Priority::high ? highest : lowest),
             "cudaStreamCreateWithPriority");
}

cudaStream_t Stream::use() const {
  check_cuda(cudaSetDevice(device_index_), "cudaSetDevice");
  return stream_;
}

void Stream::synchronize() const {
  check_cuda(cudaStreamSynchronize(use()), "cudaStreamSynchronize");
}

std::string describe_devices() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess) return fmt::format("no CUDA device: {}", cudaGetErrorString(code));
  if (count == 0) return "no CUDA device";
  std::string names;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    check_cuda(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
    names += fmt::format("{}cuda:{} ({})", index == 0 ? "" : ", ", index, properties.name);
  }
  return names;
}

}  // namespace normtune::cuda
