#include "op_cases.h"

#include <cmath>
#include <limits>

namespace normtune::test {

namespace {

std::vector<OpCase>& table() {
  static std::vector<OpCase> cases;  // a function's static: the files register before main, in any order
  return cases;
}

}  // namespace

RegisterOpCases::RegisterOpCases(std::initializer_list<OpCase> cases) {
  table().insert(table().end(), cases.begin(), cases.end());
}

const std::vector<OpCase>& op_cases() {
  return table();
}

Tensor random_tensor(const Shape& shape, uint64_t seed, DType dtype) {
  std::vector<double> values(shape.numel());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto words = philox4x32({static_cast<uint32_t>(i), 0, 0, 0}, dropout_key(seed, 1, 0));
    values[i] = words[0] / 1073741824.0 - 2;
  }
  return Tensor::from_values(shape, values).to(dtype);
}

Variable random_variable(const Shape& shape, uint64_t seed, DType dtype) {
  return Variable(random_tensor(shape, seed, dtype), /*requires_grad=*/true);
}

Tensor random_slice(const Shape& shape, uint64_t seed) {
  std::vector<int64_t> sizes(shape.begin(), shape.end());
  sizes[0] += 5;
  return random_tensor(Shape(sizes), seed).slice(3, 3 + shape[0]);
}

Tensor indices(const std::vector<int32_t>& values) {
  return Tensor::from_values({static_cast<int64_t>(values.size())}, values);
}

DropoutMask random_mask(int64_t num_rows, double probability, int32_t site) {
  std::vector<int64_t> example_ids(num_rows);
  std::vector<int32_t> positions(num_rows);
  for (int64_t i = 0; i < num_rows; ++i) {
    example_ids[i] = 1000 + i / 2;
    positions[i] = static_cast<int32_t>(i % 2);
  }
  return {.probability = probability,
          .key = dropout_key(42, 7, site),
          .example_ids = Tensor::from_values({num_rows}, example_ids),
          .positions = Tensor::from_values({num_rows}, positions)};
}

Tensor dropout_factors(const DropoutMask& mask, int64_t columns, uint32_t head) {
  const auto example_ids = mask.example_ids.to_vector<int64_t>();
  const auto positions = mask.positions.to_vector<int32_t>();
  const auto num_rows = static_cast<int64_t>(positions.size());
  std::vector<double> factors(num_rows * columns);
  for (int64_t i = 0; i < num_rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const auto words = philox4x32({static_cast<uint32_t>(example_ids[i]),
                                     static_cast<uint32_t>(positions[i]), static_cast<uint32_t>(j / 4), head},
                                    mask.key);
      const bool kept = words[j % 4] >= dropout_threshold(mask.probability);
      factors[i * columns + j] = kept ? 1 / (1 - mask.probability) : 0;
    }
  }
  return Tensor::from_values({num_rows, columns}, factors);
}

OpFunction plain(const Shape& output_shape,
                 std::function<void(const std::vector<std::vector<double>>&, std::vector<double>&)> compute) {
  return [=](const std::vector<Variable>& variables) {
    std::vector<std::vector<double>> inputs;
    for (const Variable& variable : variables) inputs.push_back(values_of(variable.tensor()));
    std::vector<double> output(output_shape.numel());
    compute(inputs, output);
    return Variable(Tensor::from_values(output_shape, output));
  };
}

double largest_error(const std::vector<double>& found, const std::vector<double>& expected) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double error = std::abs(found[i] - expected[i]) / std::max(std::abs(expected[i]), 1.0);
    if (!(error <= largest)) largest = error;
    if (std::isnan(largest)) return largest;
  }
  return largest;
}

std::vector<double> values_of(const Tensor& tensor) {
  return tensor.to(DType::float64).to_vector<double>();
}

}  // namespace normtune::test
