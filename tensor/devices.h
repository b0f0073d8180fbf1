#pragma once

#include <string>

namespace normtune {

class Backend;

/// Lets `backend`, which must live as long as the process, serve a CUDA device from now on. Tests put an
/// emulated device in the place of a real one by it, before the device is used.
void set_cuda_backend(int index, Backend& backend);

/// The CUDA devices of this machine in one line, for people.
std::string describe_cuda_devices();

}  // namespace normtune
