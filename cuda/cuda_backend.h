#pragma once

#include <memory>
#include <string>

#include "tensor/backend.h"

namespace normtune::cuda {

/// The backend of a CUDA device: kernels of cuda/*.cuh, matrix products by cuBLASLt, float32. Throws
/// Error(usage) if the machine has no such device.
std::unique_ptr<Backend> make_cuda_backend(int device_index);

/// The CUDA devices of this machine in one line, for people.
std::string describe_devices();

}  // namespace normtune::cuda
