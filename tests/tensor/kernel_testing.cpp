#include "tests/tensor/kernel_testing.h"

#include <omp.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tensor/cpu/vector/dispatch.h"

namespace normtune::test {

Backend& cpu() {
  return backend_of({});
}

Tensor random_tensor(const Shape& shape, DType dtype, uint64_t seed, double scale, double offset) {
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) {
    const double uniform = static_cast<double>(mix64(mix64(seed) + i) >> 11) * 0x1p-53;
    values[i] = offset + scale * (2 * uniform - 1);
  }
  return Tensor::from_values(shape, values).to(dtype);
}

std::vector<double> values_of(const Tensor& tensor) {
  return tensor.to(DType::float64).to_vector<double>();
}

std::vector<double> values_of(const MatrixRef& matrix) {
  std::vector<double> values;
  dispatch_floating(matrix.dtype, [&]<typename T>() {
    for (int64_t i = 0; i < matrix.rows; ++i) {
      for (int64_t j = 0; j < matrix.cols; ++j) values.push_back(matrix.as<T>()[i * matrix.ld + j]);
    }
  });
  return values;
}

double largest_error(const std::vector<double>& found, const std::vector<double>& expected) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double error = std::abs(found[i] - expected[i]) / std::max(std::abs(expected[i]), 1.0);
    if (!(error <= largest)) largest = error;
    if (std::isnan(error)) break;
  }
  return largest;
}

void for_each_instruction_set(const std::function<void()>& body) {
  const std::string before = cpu_instruction_set();
  for (const std::string& name : supported_cpu_instruction_sets()) {
    set_cpu_instruction_set(name);
    BOOST_TEST_CONTEXT("instruction set " << name) {
      body();
    }
  }
  set_cpu_instruction_set(before);
}

void for_each_setting(const std::function<void(DType)>& body) {
  for_each_instruction_set([&] {
    for (const DType dtype : {DType::float32, DType::float64}) {
      BOOST_TEST_CONTEXT(to_string(dtype)) {
        dirty_free_memory();
        body(dtype);
      }
    }
  });
}

void check_bits_for_any_threads(std::string_view name, const std::function<std::vector<Tensor>()>& kernel) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::vector<Tensor> expected = kernel();
  for (const int threads : {2, 3, 4, 8, 16}) {
    omp_set_num_threads(threads);
    dirty_free_memory();
    const std::vector<Tensor> found = kernel();
    for (size_t i = 0; i < expected.size(); ++i) {
      BOOST_CHECK_MESSAGE(equal_bits(found[i], expected[i]),
                          name << ": result " << i << " differs with " << threads << " threads");
    }
  }
  omp_set_num_threads(before);
}

bool equal_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.raw_data(), b.raw_data(), a.nbytes()) == 0;
}

void dirty_free_memory() {
  std::vector<Tensor> blocks;
  for (const int64_t bytes : {100, 1000, 10'000, 100'000, 600'000}) {
    for (int i = 0; i < 4; ++i) {
      blocks.push_back(Tensor::empty({bytes / 4}, DType::int32));
      blocks.back().fill(-1);  // every bit set: NaN in both floating dtypes
    }
  }
}

DropoutMask random_mask(int64_t num_rows, double probability) {
  std::vector<int64_t> example_ids;
  std::vector<int32_t> positions;
  for (int64_t row = 0; row < num_rows; ++row) {
    example_ids.push_back(7 + row / 3);
    positions.push_back(static_cast<int32_t>(row % 3));
  }
  return {.probability = probability,
          .key = dropout_key(1, 2, 3),
          .example_ids = indices64(example_ids),
          .positions = indices(positions)};
}

const DropoutMask& no_mask() {
  static const DropoutMask mask;
  return mask;
}

double dropout_factor(const DropoutMask& mask, int64_t row, int64_t channel, uint32_t head) {
  if (!mask.active()) return 1;
  const auto example_id = static_cast<uint32_t>(mask.example_ids.data<int64_t>()[row]);
  const auto position = static_cast<uint32_t>(mask.positions.data<int32_t>()[row]);
  const auto words = philox4x32({example_id, position, static_cast<uint32_t>(channel / 4), head}, mask.key);
  const bool keep = words[static_cast<size_t>(channel % 4)] >= dropout_threshold(mask.probability);
  return keep ? 1 / (1 - mask.probability) : 0;
}

double squared_norm(const Tensor& tensor, const Tensor* indices) {
  return tensor.backend().squared_norms({{tensor, indices}}).front();
}

Tensor indices(const std::vector<int32_t>& values) {
  return Tensor::from_values({static_cast<int64_t>(values.size())}, values);
}

Tensor indices64(const std::vector<int64_t>& values) {
  return Tensor::from_values({static_cast<int64_t>(values.size())}, values);
}

}  // namespace normtune::test
