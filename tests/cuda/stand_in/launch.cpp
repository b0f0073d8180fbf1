#include <cstdint>
#include <functional>
#include <map>

#include "tests/cuda/stand_in/machine.h"
#include "tests/cuda/stand_in/streams.h"

namespace normtune::stand_in {

namespace {

constexpr int shared_bytes_without_asking = 48 * 1024;

/// Of each device and kernel: the dynamic shared memory that it was allowed.
std::map<std::pair<int, const void*>, int>& allowed_shared_bytes() {
  static auto& allowed = *new std::map<std::pair<int, const void*>, int>;
  return allowed;
}

cudaError_t check_size(const cudaLaunchConfig_t& config, const void* kernel) {
  const dim3 &grid = config.gridDim, &block = config.blockDim;
  if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.x > 0x7FFFFFFF || grid.y > 65535 || grid.z > 65535 ||
      block.x < 1 || block.y < 1 || block.z < 1 || uint64_t{block.x} * block.y * block.z > 1024) {
    return cudaErrorInvalidConfiguration;
  }
  const auto allowed = allowed_shared_bytes().find({current_device(), kernel});
  const int most = allowed == allowed_shared_bytes().end() ? shared_bytes_without_asking : allowed->second;
  return config.dynamicSmemBytes > static_cast<size_t>(most) ? cudaErrorInvalidValue : cudaSuccess;
}

}  // namespace

/// Declared in launch.h, which needs the emulator's language.
cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> run_kernel) {
  return call("cudaLaunchKernelEx", [&] {
    if (config.stream == nullptr) misuse("a kernel on the legacy stream");
    if (config.numAttrs != 0 || config.gridDim.z != 1 || config.blockDim.y != 1 || config.blockDim.z != 1) {
      misuse("a launch that the emulator cannot do");
    }
    const cudaError_t error = check_size(config, kernel);
    if (error != cudaSuccess) return error;
    counts().first_uses.note(kernel, config.stream->capture != nullptr);
    return enqueue(*config.stream,
                   [run = std::move(run_kernel)] {
                     if (machine().computes) run();
                   })
        .error;
  });
}

}  // namespace normtune::stand_in

extern "C" cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  using namespace normtune::stand_in;
  return call("cudaFuncSetAttribute", [&] {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) misuse("an attribute of kernels");
    if (value < 0 || value > Machine::most_shared_bytes) return cudaErrorInvalidValue;
    allowed_shared_bytes()[{current_device(), kernel}] = value;
    return cudaSuccess;
  });
}
