#include "tests/cuda/emulator.h"

#include <array>
#include <boost/test/unit_test.hpp>
#include <numeric>
#include <vector>

#include "cuda/block.cuh"
#include "experiments/bench.h"
#include "tensor/precision.h"
#include "tests/cuda/device_testing.h"
#include "tests/cuda/emulated_backend.h"

namespace normtune {

namespace {

__global__ void block_sums_kernel(const float* input, float* sums) {
  const float sum = cuda::block_sum(input[cuda::global_thread()]);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void reverse_kernel(const float* input, float* output, bool with_barrier) {
  float* shared = emulated_dynamic_shared();
  shared[threadIdx.x] = input[threadIdx.x];
  if (with_barrier) __syncthreads();
  output[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

__global__ void half_a_barrier_kernel() {
  if (threadIdx.x < 32) __syncthreads();
}

__global__ void copy_kernel(const float* input, float* output, bool waits) {
  float* shared = emulated_dynamic_shared() + 4 * threadIdx.x;
  emulated_begin_copy_of_16_bytes(reinterpret_cast<uint32_t*>(shared), input + 4 * threadIdx.x);
  if (waits) emulated_wait_for_copies();
  for (int i = 0; i < 4; ++i) output[4 * threadIdx.x + i] = shared[i];
}

void reverse(const std::vector<float>& input, std::vector<float>& output, bool with_barrier) {
  const cuda::Grid grid{.blocks = 1, .threads = 64, .shared_bytes = 64 * sizeof(float)};
  emulator::Launcher{}(reverse_kernel, grid, input.data(), output.data(), with_barrier);
}

std::vector<float> ramp(size_t size) {
  std::vector<float> values(size);
  for (size_t i = 0; i < size; ++i) values[i] = static_cast<float>(i);
  return values;
}

}  // namespace
}  // namespace normtune

using namespace normtune;

/// The emulator computes what CUDA would, and finds the mistakes that it is there to find.
BOOST_AUTO_TEST_SUITE(emulator_itself)

BOOST_AUTO_TEST_CASE(threads_of_a_block_sum_up) {
  const std::vector<float> input = ramp(3 * 96);
  std::vector<float> sums(3);
  for (const uint64_t order : {0, 1, 2}) {
    emulator::set_order(order);
    emulator::Launcher{}(block_sums_kernel, {.blocks = 3, .threads = 96}, input.data(), sums.data());
    BOOST_TEST(sums == std::vector<float>({4560, 13776, 22992}));
  }
  emulator::set_order(0);
}

BOOST_AUTO_TEST_CASE(a_missing_barrier_shows) {
  const std::vector<float> input = ramp(64);
  std::vector<float> expected(input.rbegin(), input.rend()), output(64);
  reverse(input, output, true);
  BOOST_TEST(output == expected);
  reverse(input, output, false);
  BOOST_TEST(output != expected);
}

BOOST_AUTO_TEST_CASE(a_copy_that_nobody_waits_for_shows) {
  alignas(16) std::array<float, 128> input;
  std::array<float, 128> output;
  std::iota(input.begin(), input.end(), 0.f);
  const cuda::Grid grid{.blocks = 1, .threads = 32, .shared_bytes = sizeof(input)};
  for (const bool waits : {true, false}) {
    emulator::Launcher{}(copy_kernel, grid, input.data(), output.data(), waits);
    BOOST_TEST((output == input) == waits);
  }
}

BOOST_AUTO_TEST_CASE(a_barrier_that_some_never_reach_is_an_error) {
  BOOST_CHECK_THROW(emulator::Launcher{}(half_a_barrier_kernel, {.blocks = 1, .threads = 64}),
                    std::logic_error);
}

BOOST_AUTO_TEST_CASE(a_grid_that_no_device_takes_is_an_error) {
  BOOST_CHECK_THROW(emulator::Launcher{}(half_a_barrier_kernel, {.blocks = 1, .threads = 33}),
                    std::logic_error);
}

/// `normtune bench --kernels`, whose kernels take activations in bfloat16 with that precision. On a device
/// tools/device_checks.sh does it at full size.
BOOST_AUTO_TEST_CASE(kernels_can_be_timed) {
  if (!test::is_emulated()) return;
  const BertConfig config{.vocab_size = 50,
                          .hidden_size = 64,
                          .num_hidden_layers = 1,
                          .num_attention_heads = 2,
                          .intermediate_size = 96,
                          .max_position_embeddings = 16,
                          .type_vocab_size = 2};
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    use_precision(precision, test::cuda_device);
    for (const KernelBenchResult& result : bench_kernels(config, 2, 8, /*repeats=*/1, test::cuda_device)) {
      BOOST_TEST(result.milliseconds > 0, result.kernel);
    }
  }
  use_precision(Precision::fp32, test::cuda_device);
}

BOOST_AUTO_TEST_SUITE_END()
