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
/// False, with a message, where products cannot be rounded to TF32.
bool tf32_at_hand();

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

/// Checks a kernel's results on the device, given those of the CPU.
using Comparison = std::function<void(const std::vector<Tensor>& found, const std::vector<Tensor>& expected)>;

/// Of each result: of its normalised mean squared error, by what it is in.
struct Tolerance {
  double float32 = 1e-11, bfloat16 = 1e-5;
  /// Of sums that may cancel to nearly nothing, or to nothing: how large an element of them is as a rule.
  double least_size = 0;
};

/// Bytes, derivatives, may be one apart, and seldom; other integers have equal bits.
void check_near(const Tensor& found, const Tensor& expected, const Tolerance& tolerance = {});
Comparison within(const Tolerance& tolerance);  ///< of all results

struct Tally;

/// Compares, repeats and counts one generated case: what a kernel makes of these inputs, which are on the
/// host, on the device and on the CPU. Some cases are repeated for equal bits: on the emulator with the
/// fibers in other orders, on a real device up to a thousand times.
class CheckCase {
 public:
  CheckCase(int repeats, Tally& tally) : repeats_(repeats), tally_(tally) {}
  void operator()(const std::vector<Tensor>& inputs, const Kernel& kernel,
                  const Comparison& compare = within({})) const;

 private:
  int repeats_;
  Tally& tally_;
};

/// Calls make_case(random, check) `count` times, twice as often where it takes_all_cases(), and with
/// NORMTUNE_TEST_CASES=N about N times. Each gives check() a case or several, or none. Says in a message how
/// many cases ran. A run of the whole program with all cases fails with fewer of them than the 3,000 that are
/// promised.
void for_generated_cases(const std::string& name, int count,
                         const std::function<void(CaseRandom&, const CheckCase&)>& make_case);

/// Normalised mean squared error, with `least_size` squared added to the square of each expected element.
/// Without it infinite where `expected` is all zero and `found` is not.
double nmse(const std::vector<float>& found, const std::vector<float>& expected, double least_size = 0);
/// Floats hold numbers of bfloat16 exactly.
std::vector<float> floats_of(const Tensor& tensor);
double root_mean_square(const Tensor& tensor);
std::vector<Tensor> on_device(const std::vector<Tensor>& tensors);
/// Checks that repeats give the bits of the first results, on the emulator with the fibers in other orders.
void check_repeats(const std::vector<Tensor>& inputs_there, const Kernel& kernel,
                   const std::vector<Tensor>& first, int repeats);

/// Rows [1, size) of a tensor with one row more than asked for: a slice with an offset.
Tensor without_first_row(const Tensor& tensor);
/// Its own copy of a tensor on its device, for kernels that write over their input.
inline Tensor copy_of(const Tensor& tensor) {
  return tensor.clone();
}

}  // namespace normtune::test
