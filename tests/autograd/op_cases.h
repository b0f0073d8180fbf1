#pragma once

#include <boost/test/unit_test.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/variable.h"

/// The table of op cases. A test file lists the cases of its op, and op_cases_test.cpp derives from each:
/// gradient check in float64 for every subset of inputs, values and gradients against the reference, float32
/// against float64, equal bits for any number of threads, nothing leaked, nothing saved after backward.
namespace normtune::test {

using OpFunction = std::function<Variable(const std::vector<Variable>&)>;

/// How far a result may be from the float64 reference: |error| / max(|reference|, 1).
struct Tolerance {
  double float64, float32;
};
inline constexpr Tolerance elementwise_tolerance{1e-14, 1e-6};
inline constexpr Tolerance reduction_tolerance{1e-12, 1e-5};  ///< products and sums over rows or columns

struct OpCase {
  std::string op;              ///< the public function
  std::string variant;         ///< what is special about this case
  std::vector<Tensor> inputs;  ///< float64: those with a derivative
  OpFunction function;
  /// The same function from primitive ops (then the gradients are compared too), or from plain loops.
  OpFunction reference;
  Tolerance tolerance = reduction_tolerance;
};

/// Adds cases to the table: `const RegisterOpCases sum_cases{{"sum", "rank 3", ...}, ...};` in sum_test.cpp.
struct RegisterOpCases {
  RegisterOpCases(std::initializer_list<OpCase> cases);
};
const std::vector<OpCase>& op_cases();

// ---- Inputs

/// Numbers in [-2, 2), a pure function of shape and seed.
Tensor random_tensor(const Shape& shape, uint64_t seed = 1, DType dtype = DType::float64);
/// The same as a slice in the middle of a larger storage.
Tensor random_slice(const Shape& shape, uint64_t seed = 1);
/// random_tensor() as a variable that requires a gradient. One that requires none:
/// Variable(random_tensor(...)).
Variable random_variable(const Shape& shape, uint64_t seed = 1, DType dtype = DType::float64);
Tensor indices(const std::vector<int32_t>& values);
/// A mask over `num_rows` rows: two rows an example, so that example and position both matter.
DropoutMask random_mask(int64_t num_rows, double probability, int32_t site = 5);

// ---- References

/// What dropout multiplies with, [num_rows, columns]: 0 or 1 / (1 - probability), from the definition in
/// DropoutMask.
Tensor dropout_factors(const DropoutMask& mask, int64_t columns, uint32_t head = 0);

/// Wraps a plain loop as a reference: `compute` fills output from the inputs' values.
OpFunction plain(
    const Shape& output_shape,
    std::function<void(const std::vector<std::vector<double>>& inputs, std::vector<double>& output)> compute);

// ---- Comparisons

/// The largest |found - expected| / max(|expected|, 1); NaN if one is found, infinity if the counts differ.
double largest_error(const std::vector<double>& found, const std::vector<double>& expected);
/// Elements of a floating-point tensor as double.
std::vector<double> values_of(const Tensor& tensor);

/// A predicate for BOOST_CHECK_EXCEPTION: the message contains `part`.
inline auto says(std::string part) {
  return [part = std::move(part)](const std::exception& exception) {
    const bool found = std::string_view(exception.what()).find(part) != std::string_view::npos;
    BOOST_CHECK_MESSAGE(found, "expected '" << part << "' in '" << exception.what() << "'");
    return found;
  };
}

}  // namespace normtune::test
