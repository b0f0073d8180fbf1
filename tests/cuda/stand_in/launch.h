#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <tuple>

// Include "tests/cuda/emulator.h" first.

namespace normtune::stand_in {

/// Enqueues `run_kernel`, if a device would take the launch.
cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> run_kernel);

}  // namespace normtune::stand_in

// The templates of cuda_runtime.h, which only nvcc can read, for kernels of the emulator.

template <typename... Parameters, typename... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Args&&... args) {
  const normtune::cuda::Grid grid{.blocks = config->gridDim.x,
                                  .blocks_y = config->gridDim.y,
                                  .threads = static_cast<int>(config->blockDim.x),
                                  .shared_bytes = static_cast<int64_t>(config->dynamicSmemBytes)};
  const auto run_kernel = [grid, kernel, values = std::tuple<Parameters...>(std::forward<Args>(args)...)] {
    const auto run_thread = [&] { std::apply(kernel, values); };
    normtune::emulator::run(grid, run_thread);
  };
  return normtune::stand_in::launch(*config, reinterpret_cast<const void*>(kernel), run_kernel);
}

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
