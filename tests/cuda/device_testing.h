#pragma once

#include <boost/test/unit_test.hpp>
#include <functional>
#include <string>
#include <vector>

#include "tensor/backend.h"

/// What the tests of the CUDA backend share. They run on the emulator (tests/cuda/emulator.h), or with
/// NORMTUNE_TEST_DEVICE=cuda on cuda:0, and compare with the CPU backend.
namespace normtune::test {

/// The kernels under test run here.
inline constexpr Device cuda_device{DeviceType::cuda, 0};

/// The device is an emulated one.
bool is_emulated();
/// Tests take as many cases and steps as they do on a real device: there, and with NORMTUNE_TEST_ALL_CASES=1
/// on the emulator.
bool takes_all_cases();
/// False, with a message, where a real device is wanted and there is none.
bool device_at_hand();

/// Draws what makes a case. A pure function of the seed.
class CaseRandom {
 public:
  explicit CaseRandom(uint64_t seed) : seed_(seed) {}

  uint64_t bits();
  /// In [lowest, highest].
  int64_t integer(int64_t lowest, int64_t highest);
  bool coin() { return integer(0, 1) == 1; }
  /// Often a number around which kernels change their way: 1, 31, 32, 33, ...; at most `most`.
  int64_t size(int64_t most);
  /// What the activations of a case are in: float32 or bfloat16.
  DType activation_dtype() { return coin() ? DType::float32 : DType::bfloat16; }
  /// float32 in offset + [-scale, scale).
  Tensor floats(const Shape& shape, double scale = 2, double offset = 0);
  Tensor int32s(int64_t count, int64_t lowest, int64_t highest);
  Tensor bytes(const Shape& shape);
  /// Ascending, each in [0, end), none twice.
  Tensor ascending_int64s(int64_t end);
  /// Sums of `batch` lengths from [shortest, longest], beginning with 0.
  Tensor cu_seqlens(int64_t batch, int64_t shortest, int64_t longest);

 private:
  uint64_t seed_, drawn_ = 0;
};

/// A kernel, called on the device of its inputs; returns its results.
using Kernel = std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)>;

/// Calls make_case(random, check) `count` times, twice as often where it takes_all_cases(), and with
/// NORMTUNE_TEST_CASES=N about N times. Each case calls check(inputs on the host, kernel), which compares the
/// kernel's results on the device with those on the CPU (normalised mean squared error at most 1e-11, exact
/// zeros where the CPU's are all zero; bytes at most one apart, and seldom) and repeats some cases for equal
/// bits: on the emulator with the fibers in other orders, on a real device up to a thousand times. Says in a
/// message how many cases ran.
using CheckCase = std::function<void(const std::vector<Tensor>& inputs, const Kernel& kernel)>;
void for_generated_cases(const std::string& name, int count,
                         const std::function<void(CaseRandom&, const CheckCase&)>& make_case);

/// Normalised mean squared error. Elements count as at least 0.01 in size, as 0.1 in results of fewer than
/// eight: a sum that cancels to nearly nothing has no relative precision. Infinite where `expected` is all
/// zero and `found` is not.
double nmse(const std::vector<float>& found, const std::vector<float>& expected);
std::vector<Tensor> on_device(const std::vector<Tensor>& tensors);
/// Checks that repeats give the bits of the first results, on the emulator with the fibers in other orders.
void check_repeats(const std::vector<Tensor>& inputs_there, const Kernel& kernel,
                   const std::vector<Tensor>& first, int repeats);

/// How often a test repeats a case that it compares by itself.
int repeats_of_own_case();

/// Rows [1, size) of a tensor with one row more than asked for: a slice with an offset.
Tensor without_first_row(const Tensor& tensor);
/// Its own copy of a tensor on its device, for kernels that write over their input.
inline Tensor copy_of(const Tensor& tensor) {
  return tensor.clone();
}

}  // namespace normtune::test
