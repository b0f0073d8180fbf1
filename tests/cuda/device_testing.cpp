#include "tests/cuda/device_testing.h"

#include <algorithm>
#include <boost/test/unit_test_parameters.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string_view>

#include "tensor/devices.h"
#include "tests/cuda/emulated_backend.h"

namespace normtune::test {

namespace {

/// Decided before the first test runs.
struct ChosenDevice {
  bool emulated = true, at_hand = true;

  ChosenDevice() {
    const char* wanted = std::getenv("NORMTUNE_TEST_DEVICE");
    emulated = wanted == nullptr || std::string_view(wanted) != "cuda";
    if (emulated) {
      set_cuda_backend(0, emulator::emulated_backend());
      return;
    }
    try {
      backend_of(cuda_device);
    } catch (const Error& error) {
      at_hand = false;
      BOOST_TEST_MESSAGE("skipped: " << error.what());
    }
  }
};

const ChosenDevice& chosen_device() {
  static const ChosenDevice device;
  return device;
}

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  const Tensor on_host = tensor.to(Device{});
  std::vector<std::byte> bytes(tensor.nbytes());
  if (!bytes.empty()) std::memcpy(bytes.data(), on_host.raw_data(), bytes.size());
  return bytes;
}

/// Derivatives in bytes: one may be rounded the other way.
void compare_bytes(const std::vector<uint8_t>& found, const std::vector<uint8_t>& expected) {
  size_t apart = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const int difference = std::abs(found[i] - expected[i]);
    BOOST_CHECK_LE(difference, 1);
    apart += difference > 0;
  }
  BOOST_CHECK_LE(apart, 1 + expected.size() / 1000);
}

/// NORMTUNE_TEST_CASES=N: about N cases of each group, spread over the whole of it, and none repeated. 0:
/// all.
int chosen_cases() {
  const char* text = std::getenv("NORMTUNE_TEST_CASES");
  if (text == nullptr) return 0;
  const int number = std::atoi(text);
  check(number > 0, "NORMTUNE_TEST_CASES: expected a number of cases of each group, found '{}'", text);
  return number;
}

/// Every how many cases of `count` one runs.
int stride_of_cases(int count) {
  const int chosen = chosen_cases();
  return chosen == 0 ? 1 : (count + chosen - 1) / chosen;
}

/// Many repeats of cases spread over a group on a device, few of more cases on the emulator, where only the
/// order counts.
int repeats_of_case(int number, int count) {
  if (chosen_cases() > 0) return 0;
  if (is_emulated()) return number % 4 == 0 ? 2 : 0;
  if (number % std::max(count / 6, 1) == 0) return 1000;
  return number % 10 == 0 ? 50 : 1;
}

/// Of all groups so far.
int64_t num_cases = 0;

/// When the whole program has run with all cases: were they as many as is promised?
struct NumberOfCases {
  void setup() {}
  void teardown() {
    namespace runtime_config = boost::unit_test::runtime_config;
    if (!runtime_config::get<std::vector<std::string>>(runtime_config::btrt_run_filters).empty()) return;
    BOOST_TEST_MESSAGE("generated cases in all: " << num_cases);
    if (takes_all_cases() && chosen_cases() == 0 && device_at_hand()) BOOST_CHECK_GE(num_cases, 3000);
  }
};
BOOST_TEST_GLOBAL_FIXTURE(NumberOfCases);

}  // namespace

/// What ran, as proof of the numbers that docs/cuda.md claims.
struct Tally {
  int cases = 0;
  std::map<int, int> cases_by_repeats;

  void add(int repeats) {
    ++cases;
    ++cases_by_repeats[repeats];
    ++num_cases;
  }
  std::string text() const {
    std::string text = fmt::format("{} generated cases", cases);
    for (const auto& [times, number] : cases_by_repeats) {
      if (times > 0) text += fmt::format(", {} of them repeated {} times", number, times);
    }
    return text;
  }
};

bool is_emulated() {
  return chosen_device().emulated;
}

bool takes_all_cases() {
  return !is_emulated() || std::getenv("NORMTUNE_TEST_ALL_CASES") != nullptr;
}

bool device_at_hand() {
  if (!chosen_device().at_hand) BOOST_TEST_MESSAGE("skipped: no CUDA device");
  return chosen_device().at_hand;
}

bool tf32_at_hand() {
  if (!device_at_hand()) return false;
  const bool at_hand = !is_emulated() || emulator::has_tf32();
  if (!at_hand) BOOST_TEST_MESSAGE("skipped: the emulator's products are not rounded to TF32");
  return at_hand;
}

uint64_t CaseRandom::bits() {
  return mix64(mix64(seed_) + drawn_++);
}

int64_t CaseRandom::integer(int64_t lowest, int64_t highest) {
  return lowest + static_cast<int64_t>(bits() % static_cast<uint64_t>(highest - lowest + 1));
}

int64_t CaseRandom::size(int64_t most) {
  static constexpr int64_t telling[] = {1,  2,   3,   4,   5,   31,  32,  33,  63, 64,
                                        65, 127, 128, 129, 255, 256, 257, 512, 513};
  const int64_t size = coin() ? telling[integer(0, std::size(telling) - 1)] : integer(1, most);
  return size <= most ? size : integer(1, most);
}

Tensor CaseRandom::floats(const Shape& shape, double scale, double offset) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (float& value : values) {
    const double uniform = static_cast<double>(bits() >> 11) * 0x1p-53;
    value = static_cast<float>(offset + scale * (2 * uniform - 1));
  }
  return Tensor::from_values(shape, values);
}

Tensor CaseRandom::bytes(const Shape& shape) {
  std::vector<uint8_t> values(static_cast<size_t>(shape.numel()));
  for (uint8_t& value : values) value = static_cast<uint8_t>(integer(0, 255));
  return Tensor::from_values(shape, values);
}

Tensor CaseRandom::int32s(int64_t count, int64_t lowest, int64_t highest) {
  std::vector<int32_t> values(static_cast<size_t>(count));
  for (int32_t& value : values) value = static_cast<int32_t>(integer(lowest, highest));
  return Tensor::from_values({count}, values);
}

Tensor CaseRandom::ascending_int64s(int64_t end) {
  std::vector<int64_t> values;
  const int64_t step = integer(1, 4);
  for (int64_t value = integer(0, step - 1); value < end; value += integer(1, step)) values.push_back(value);
  return Tensor::from_values({static_cast<int64_t>(values.size())}, values);
}

Tensor CaseRandom::cu_seqlens(int64_t batch, int64_t shortest, int64_t longest) {
  std::vector<int32_t> bounds{0};
  for (int64_t s = 0; s < batch; ++s) {
    bounds.push_back(bounds.back() + static_cast<int32_t>(integer(shortest, longest)));
  }
  return Tensor::from_values({batch + 1}, bounds);
}

void check_near(const Tensor& found, const Tensor& expected, const Tolerance& tolerance) {
  BOOST_REQUIRE(found.shape() == expected.shape() && found.dtype() == expected.dtype());
  const DType dtype = expected.dtype();
  if (dtype == DType::uint8) {
    return compare_bytes(found.to_vector<uint8_t>(), expected.to_vector<uint8_t>());
  }
  if (dtype != DType::float32 && dtype != DType::bfloat16) {
    BOOST_CHECK(bytes_of(found) == bytes_of(expected));
    return;
  }
  const double error = nmse(floats_of(found), floats_of(expected), tolerance.least_size);
  const double most = dtype == DType::bfloat16 ? tolerance.bfloat16 : tolerance.float32;
  BOOST_CHECK_MESSAGE(error <= most, "NMSE " << error << " for a result of " << expected.numel());
}

Comparison within(const Tolerance& tolerance) {
  return [tolerance](const std::vector<Tensor>& found, const std::vector<Tensor>& expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
      BOOST_TEST_CONTEXT("result " << i) check_near(found[i], expected[i], tolerance);
    }
  };
}

void CheckCase::operator()(const std::vector<Tensor>& inputs, const Kernel& kernel,
                           const Comparison& compare) const {
  const std::vector<Tensor> expected = kernel(inputs), inputs_there = on_device(inputs);
  const std::vector<Tensor> found = kernel(inputs_there);
  BOOST_REQUIRE(found.size() == expected.size());
  compare(found, expected);
  check_repeats(inputs_there, kernel, found, repeats_);
  tally_.add(repeats_);
}

void for_generated_cases(const std::string& name, int count,
                         const std::function<void(CaseRandom&, const CheckCase&)>& make_case) {
  if (!device_at_hand()) return;
  if (takes_all_cases()) count *= 2;
  uint64_t name_hash = 0;
  for (const char letter : name) name_hash = mix64(name_hash ^ static_cast<uint64_t>(letter));
  Tally tally;
  for (int number = 0; number < count; number += stride_of_cases(count)) {
    const uint64_t seed = name_hash + static_cast<uint64_t>(number);
    BOOST_TEST_CONTEXT(name << ", case " << number << " (seed " << seed << ")") {
      CaseRandom random(seed);
      make_case(random, CheckCase(repeats_of_case(number, count), tally));
    }
  }
  BOOST_TEST_MESSAGE(name << ": " << tally.text());
}

double nmse(const std::vector<float>& found, const std::vector<float>& expected, double least_size) {
  double error = 0, size = least_size * least_size * static_cast<double>(expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
    error += difference * difference;
    size += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return size == 0 && error == 0 ? 0 : error / size;
}

double root_mean_square(const Tensor& tensor) {
  double squares = 0;
  for (const float value : floats_of(tensor)) squares += std::pow(static_cast<double>(value), 2);
  return squares == 0 ? 0 : std::sqrt(squares / static_cast<double>(tensor.numel()));
}

std::vector<float> floats_of(const Tensor& tensor) {
  return tensor.to(Device{}).to(DType::float32).to_vector<float>();
}

std::vector<Tensor> on_device(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> moved;
  for (const Tensor& tensor : tensors) moved.push_back(tensor.defined() ? tensor.to(cuda_device) : Tensor());
  return moved;
}

void check_repeats(const std::vector<Tensor>& inputs, const Kernel& kernel, const std::vector<Tensor>& first,
                   int repeats) {
  std::vector<std::vector<std::byte>> expected;
  for (const Tensor& result : first) expected.push_back(bytes_of(result));
  for (int repeat = 1; repeat <= repeats; ++repeat) {
    emulator::set_order(static_cast<uint64_t>(repeat));
    const std::vector<Tensor> again = kernel(inputs);
    for (size_t i = 0; i < first.size(); ++i) {
      BOOST_CHECK_MESSAGE(bytes_of(again[i]) == expected[i],
                          "result " << i << " differs in repeat " << repeat);
    }
  }
  emulator::set_order(0);
}

Tensor without_first_row(const Tensor& tensor) {
  return tensor.slice(1, tensor.size(0));
}

}  // namespace normtune::test
