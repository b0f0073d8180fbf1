#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "tests/cuda/first_uses.h"

/// A stand-in for the CUDA runtime and cuBLASLt, so that the backend's host code runs where no GPU is. It has
/// the documented semantics of the functions in use, takes every liberty that the documentation leaves to a
/// device (see streams.h), and throws std::logic_error where a program relies on more than is documented or
/// uses what is not here. It embodies the documentation, not a device.
namespace normtune::stand_in {

/// What the machine is said to have.
struct Machine {
  int num_devices = 1;
  int major = 8, minor = 0;               // compute capability
  int driver_version = 12010;             // 1000 x major + 10 x minor of the latest CUDA it can do
  size_t memory_bytes = size_t{8} << 30;  // of each device
  bool computes = true;                   // kernels and products, or only says that it has
  bool has_algorithms = true;             // cuBLASLt, for a product that is new to it
  static constexpr int most_shared_bytes =
      101376;  // of a block that asks for it: 99 KB, on the smallest cards
};
Machine& machine();

/// How often something was done since the program began.
struct Counts {
  int64_t waits = 0;  // of the host, for all that a stream was given
  int64_t captures = 0;
  int64_t side_products = 0;  // of cuBLASLt, on a stream of low priority
  emulator::FirstUses first_uses;
};
Counts& counts();

/// Lets the `nth` call of a function from now on, counted from 1, fail with `code` and do nothing.
void fail_call(std::string_view function, cudaError_t code, int nth = 1);
void fail_call(std::string_view function, cublasStatus_t status, int nth = 1);
/// Whether a failure that was asked for has not come.
bool is_failure_left();

/// The device of the calling thread.
int& current_device();

/// Ends what the documentation does not allow.
[[noreturn]] void misuse(const std::string& what);

/// Threads take turns.
std::recursive_mutex& turn();

/// Whether a test wants this call to fail, and how: its code; otherwise 0, which is success.
int wanted_failure(std::string_view function);
/// Keeps an error for cudaGetLastError.
cudaError_t remember(cudaError_t code);

/// The frame of a function of cuBLASLt that can fail.
template <typename Body>
cublasStatus_t call_of_cublas(std::string_view function, const Body& body) {
  const std::scoped_lock lock(turn());
  const auto wanted = static_cast<cublasStatus_t>(wanted_failure(function));
  return wanted != CUBLAS_STATUS_SUCCESS ? wanted : body();
}

/// The frame of every function of the runtime.
template <typename Body>
cudaError_t call(std::string_view function, const Body& body) {
  const std::scoped_lock lock(turn());
  const auto wanted = static_cast<cudaError_t>(wanted_failure(function));
  return remember(wanted != cudaSuccess ? wanted : body());
}

}  // namespace normtune::stand_in
