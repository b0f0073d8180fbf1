#pragma once

#include <cstdint>

#include "cuda/grid.h"

// What the threads of a block do together. Sums have a fixed order: equal bits in every run.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

constexpr int warp_size = 32, max_warps = 32;

/// The number of this thread among all of the grid.
__device__ inline int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// The value that the lane `lane ^ lane_mask` of this warp has. All 32 lanes must call it.
template <typename T>
__device__ inline T shuffle_xor(T value, int lane_mask) {
  return __shfl_xor_sync(0xFFFFFFFF, value, lane_mask);
}

/// Sums that are taken together: the barriers of one serve all.
template <int count>
struct Sums {
  double values[count];

  __device__ double& operator[](int i) { return values[i]; }
  __device__ double operator[](int i) const { return values[i]; }
  __device__ Sums& operator+=(const Sums& other) {
    for (int i = 0; i < count; ++i) values[i] += other.values[i];
    return *this;
  }
};

template <int count>
__device__ inline Sums<count> shuffle_xor(Sums<count> sums, int lane_mask) {
  for (int i = 0; i < count; ++i) sums[i] = shuffle_xor(sums[i], lane_mask);
  return sums;
}

/// The sum over the lanes of a warp, in every lane.
template <typename T>
__device__ inline T warp_sum(T value) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

template <typename T>
__device__ inline T larger(T a, T b) {
  return a > b ? a : b;
}

/// The maximum over the lanes of a warp, in every lane.
template <typename T>
__device__ inline T warp_max(T value) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) value = larger(value, shuffle_xor(value, mask));
  return value;
}

/// The sum over the threads of a block, in every thread. All threads must call it.
template <typename T>
__device__ inline T block_sum(T value) {
  __shared__ T warp_sums[max_warps];
  value = warp_sum(value);
  __syncthreads();  // nobody still reads the sums of the last call
  if (threadIdx.x % warp_size == 0) warp_sums[threadIdx.x / warp_size] = value;
  __syncthreads();
  T total{};
  for (unsigned warp = 0; warp < blockDim.x / warp_size; ++warp) total += warp_sums[warp];
  return total;
}

/// The maximum over the threads of a block, in every thread. All threads must call it.
template <typename T>
__device__ inline T block_max(T value) {
  __shared__ T warp_maxima[max_warps];
  value = warp_max(value);
  __syncthreads();
  if (threadIdx.x % warp_size == 0) warp_maxima[threadIdx.x / warp_size] = value;
  __syncthreads();
  T maximum = warp_maxima[0];
  for (unsigned warp = 1; warp < blockDim.x / warp_size; ++warp) maximum = larger(maximum, warp_maxima[warp]);
  return maximum;
}

/// The value that thread 0 has. All threads must call it.
__device__ inline float block_broadcast(float value) {
  __shared__ float of_thread_0;
  __syncthreads();
  if (threadIdx.x == 0) of_thread_0 = value;
  __syncthreads();
  return of_thread_0;
}

/// The dynamic shared memory of the block, at a multiple of 16 bytes.
__device__ inline float* dynamic_shared() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) float dynamic_shared_memory[];
  return dynamic_shared_memory;
#else
  return emulated_dynamic_shared();
#endif
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
