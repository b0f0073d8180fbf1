#pragma once

#include <math.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>

#include "cuda/grid.h"
#include "tensor/device.h"

// CUDA's kernel language for a C++ compiler: include this before the headers with kernels (cuda/*.cuh), and
// their text compiles for the CPU. Each thread of a block runs as a fiber, which gives way at __syncthreads()
// and at what a warp does together (shuffles, fragments' loads and products), and nowhere else; blocks run
// one after another.
//
// Between two barriers a fiber runs alone, so that a missing barrier shows as a wrong value in one of the
// orders that set_order() (emulated_backend.h) chooses. A barrier that some threads of a block (or lanes of a
// warp) never reach is an error, and so are addresses that tensor cores' loads and copies do not take.
// Dynamic shared memory holds NaN when a block begins.
//
// What it cannot show: races between blocks and within one order of fibers, static shared memory read before
// it is written, misaligned or uncoalesced access, registers and occupancy, anything about time. Warps are
// not in lockstep, which no kernel may rely on anyway.

namespace normtune::emulator {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

/// Of the fiber that runs.
extern Index threadIdx, blockIdx, blockDim, gridDim;

void wait_for_block();
/// The bits that the lane `lane ^ lane_mask` brings to the same call.
uint64_t exchange(uint64_t bits, int lane_mask);
/// D += A B of a warp's fragments, laid out as PTX's mma.m16n8k16 has them (see cuda/tensor_cores.cuh).
void multiply_fragments(float* d, const uint32_t* a, const uint32_t* b);
/// Four 8 x 8 matrices from rows in shared memory, as PTX's ldmatrix.x4, .trans if transposed, lays them out.
void load_matrices(uint32_t (&registers)[4], const void* row, bool transposed);
/// A copy as by PTX's cp.async: it happens when the thread waits for its copies.
void begin_copy(void* to, const void* from, size_t bytes);
void wait_for_copies();
float* dynamic_shared();

/// Runs `kernel` in every thread of every block. Throws std::logic_error where threads wait for ever.
void run(const cuda::Grid& grid, const std::function<void()>& kernel);

/// Starts kernels here (see cuda/grid.h).
struct Launcher {
  Device device;

  template <typename... Parameters, typename... Args>
  void operator()(void (*kernel)(Parameters...), const cuda::Grid& grid, const Args&... args) const {
    run(grid, [&] { kernel(static_cast<Parameters>(args)...); });
  }
};

}  // namespace normtune::emulator

#define __global__ inline
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(threads)
#define __shared__ static  // blocks run one after another, and all fibers of one see the same variable

using normtune::emulator::blockDim;
using normtune::emulator::blockIdx;
using normtune::emulator::gridDim;
using normtune::emulator::threadIdx;

inline void __syncthreads() {
  normtune::emulator::wait_for_block();
}

/// Threads run one after another.
inline void atomicAdd(unsigned long long* sum, unsigned long long value) {
  *sum += value;
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int lane_mask) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = normtune::emulator::exchange(bits, lane_mask);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

inline void emulated_mma_m16n8k16(float* d, const uint32_t* a, const uint32_t* b) {
  normtune::emulator::multiply_fragments(d, a, b);
}

inline void emulated_ldmatrix_x4(uint32_t (&registers)[4], const uint32_t* row, bool transposed) {
  normtune::emulator::load_matrices(registers, row, transposed);
}

inline void emulated_begin_copy_of_16_bytes(uint32_t* shared, const void* from) {
  normtune::emulator::begin_copy(shared, from, 16);
}

inline void emulated_wait_for_copies() {
  normtune::emulator::wait_for_copies();
}

inline float* emulated_dynamic_shared() {
  return normtune::emulator::dynamic_shared();
}
