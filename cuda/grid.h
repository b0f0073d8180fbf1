#pragma once

#include <cstdint>

// Kernels live in a namespace of their own for each way to compile them: a test program has them twice.
#if defined(__CUDACC__)
#define NORMTUNE_TARGET device
#else
#define NORMTUNE_TARGET emulated
#endif

namespace normtune::cuda {

/// How many blocks of how many threads run a kernel. A launcher, which every function here that starts
/// kernels takes as its first argument, is an object with
///
///   Device device;                                          // where its kernels run
///   launcher(kernel, Grid, arguments...);                   // starts a kernel; no blocks: does nothing
///
/// CudaBackend has one that enqueues on a stream, the tests have one that runs threads as fibers on the CPU.
struct Grid {
  int64_t blocks = 0;        // x, up to 2^31 - 1
  int64_t blocks_y = 1;      // up to 65,535
  int threads = 0;           // of a block, a multiple of 32
  int64_t shared_bytes = 0;  // dynamic shared memory of a block, up to max_shared_bytes
};

/// What a block of every card since compute capability 8.0 may use.
constexpr int64_t max_shared_bytes = 96 * 1024;

constexpr int64_t divide_up(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

/// Threads of a block where each has an element of its own, and where a block has a row of its own.
constexpr int element_threads = 256, row_threads = 128;

inline Grid one_thread_for_each(int64_t count) {
  return {.blocks = divide_up(count, element_threads), .threads = element_threads};
}

inline Grid one_block_for_each(int64_t count) {
  return {.blocks = count, .threads = row_threads};
}

}  // namespace normtune::cuda
