#pragma once

#include <boost/test/unit_test.hpp>
#include <functional>
#include <string_view>
#include <vector>

#include "tensor/backend.h"

/// What the tests of the kernels share: random inputs, comparison with references in double, and the settings
/// under which every kernel has to work.
namespace normtune::test {

/// The kernels under test.
Backend& cpu();

/// Numbers in offset + [-scale, scale), a pure function of the arguments.
Tensor random_tensor(const Shape& shape, DType dtype, uint64_t seed, double scale = 2, double offset = 0);

/// Elements of a floating-point tensor as double.
std::vector<double> values_of(const Tensor& tensor);
std::vector<double> values_of(const MatrixRef& matrix);

/// The largest |found - expected| / max(|expected|, 1); NaN if one is found, infinity if the counts differ.
double largest_error(const std::vector<double>& found, const std::vector<double>& expected);

/// Bounds of largest_error.
struct Tolerance {
  double float64, float32;
  double of(DType dtype) const { return dtype == DType::float64 ? float64 : float32; }
};
inline constexpr Tolerance elementwise{1e-14, 1e-6};
inline constexpr Tolerance reduction{1e-12, 1e-5};  ///< sums over some hundred terms of size 1

/// Calls body() with each instruction set of this machine.
void for_each_instruction_set(const std::function<void()>& body);

/// Calls body(dtype) for float32 and float64 with each of them.
void for_each_setting(const std::function<void(DType)>& body);

/// Runs `kernel`, which returns its results, with 1, 2, 3, 4, 8 and 16 threads, and checks that all bits
/// agree.
void check_bits_for_any_threads(std::string_view name, const std::function<std::vector<Tensor>()>& kernel);

/// Same shape, dtype and bits.
bool equal_bits(const Tensor& a, const Tensor& b);

/// Fills free memory of the allocator with NaN: a kernel that reads what it has not written will show it.
void dirty_free_memory();

/// A mask over `num_rows` rows: example ids 7, 7, 7, 8, 8, 8, ..., positions 0, 1, 2, 0, 1, 2, ...
DropoutMask random_mask(int64_t num_rows, double probability);
/// No dropout.
const DropoutMask& no_mask();

/// What dropout multiplies element (row, channel) with, from the definition in DropoutMask.
double dropout_factor(const DropoutMask& mask, int64_t row, int64_t channel, uint32_t head = 0);

/// squared_norms() of one tensor.
double squared_norm(const Tensor& tensor, const Tensor* indices = nullptr);

Tensor indices(const std::vector<int32_t>& values);
Tensor indices64(const std::vector<int64_t>& values);

}  // namespace normtune::test
