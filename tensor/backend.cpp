#include "tensor/backend.h"

#include <array>
#include <atomic>
#include <mutex>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/devices.h"
#include "tensor/error.h"

#if defined(NORMTUNE_CUDA)
#include "cuda/cuda_backend.h"
#endif

namespace normtune {

namespace {

constexpr int most_devices = 64;
std::array<std::atomic<Backend*>, most_devices> cuda_backends{};
std::mutex making_backends;

Backend& make_backend(int index) {
#if defined(NORMTUNE_CUDA)
  // Never destroyed: tensors of static lifetime give their memory back after the end of main.
  return *cuda::make_cuda_backend(index).release();
#else
  fail(ErrorKind::usage, "device cuda:{}: this build has no CUDA; use --device cpu", index);
#endif
}

Backend& cuda_backend(int index) {
  if (index < 0 || index >= most_devices) {
    fail(ErrorKind::usage, "device cuda:{}: this machine has no such device; use --device cpu", index);
  }
  std::atomic<Backend*>& backend = cuda_backends[static_cast<size_t>(index)];
  if (Backend* made = backend.load(std::memory_order_acquire)) return *made;
  const std::scoped_lock lock(making_backends);
  if (backend.load(std::memory_order_relaxed) == nullptr) {
    backend.store(&make_backend(index), std::memory_order_release);
  }
  return *backend.load(std::memory_order_relaxed);
}

}  // namespace

Backend& backend_of(Device device) {
  // Never destroyed, see above.
  static CpuBackend& cpu = *new CpuBackend;
  if (device.type == DeviceType::cuda) return cuda_backend(device.index);
  check(device.index == 0, "device: expected index 0 for the cpu, found {}", device.index);
  return cpu;
}

std::vector<double> Backend::squared_norms(const std::vector<NormInput>& inputs) {
  if (inputs.empty()) return {};
  const Tensor norms =
      Tensor::empty({static_cast<int64_t>(inputs.size())}, DType::float64, inputs.front().tensor.device());
  squared_norms(inputs, norms);
  return norms.to_vector<double>();
}

void set_cuda_backend(int index, Backend& backend) {
  cuda_backends.at(static_cast<size_t>(index)).store(&backend, std::memory_order_release);
}

std::string describe_cuda_devices() {
#if defined(NORMTUNE_CUDA)
  return cuda::describe_devices();
#else
  return "no CUDA in this build";
#endif
}

}  // namespace normtune
