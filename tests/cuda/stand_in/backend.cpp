// The backend of CUDA devices as it is, compiled for kernels of the emulator and the stand-in for CUDA.
#include <cuda_runtime_api.h>

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __grid_constant__
#undef __launch_bounds__
#include "tests/cuda/emulator.h"
#include "tests/cuda/stand_in/launch.h"
//
#include "cuda/cuda_backend.cu"
#include "tests/cuda/emulated_backend.h"
#include "tests/cuda/stand_in/machine.h"

namespace normtune::emulator {

Backend& emulated_backend() {
  static Backend& backend = *cuda::make_cuda_backend(0).release();
  return backend;
}

bool has_tf32() {
  return true;
}

int64_t num_waits() {
  return stand_in::counts().waits;
}

int64_t num_captures() {
  return stand_in::counts().captures;
}

int64_t num_first_uses_in_captures() {
  return stand_in::counts().first_uses.in_captures();
}

void forget_uses() {
  stand_in::counts().first_uses.forget();
}

}  // namespace normtune::emulator
