#include "op_cases.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "autograd/convert.h"
#include "autograd/gradcheck.h"
#include "autograd/multiply.h"
#include "autograd/sum.h"

using namespace normtune;
using namespace normtune::test;

namespace {

/// Output and gradients of one forward and backward pass with a randomly weighted sum as loss.
struct OpResult {
  std::vector<double> output;
  Shape output_shape;
  std::vector<std::vector<double>> gradients;  // empty if the output requires none
};

OpResult run(const OpFunction& function, const std::vector<Tensor>& inputs, DType dtype) {
  std::vector<Variable> leaves;
  for (const Tensor& input : inputs) leaves.emplace_back(input.to(dtype), /*requires_grad=*/true);
  const Variable output = function(leaves);
  OpResult result{values_of(output.tensor()), output.shape(), {}};
  if (!output.requires_grad()) return result;
  sum(multiply(output, Variable(random_tensor(output.shape(), 99, dtype)))).backward();
  for (const Variable& leaf : leaves) result.gradients.push_back(values_of(leaf.grad()));
  return result;
}

std::vector<Tensor> rounded_to_float32(const std::vector<Tensor>& inputs) {
  std::vector<Tensor> rounded;
  for (const Tensor& input : inputs) rounded.push_back(input.to(DType::float32).to(DType::float64));
  return rounded;
}

/// Ops that take activations in bfloat16, with the number of their first inputs that are activations; further
/// ones are parameters.
const std::map<std::string, size_t>& ops_in_bfloat16() {
  static const std::map<std::string, size_t> ops{{"add", 2},
                                                 {"scale", 1},
                                                 {"dropout", 1},
                                                 {"activation", 1},
                                                 {"relu", 1},
                                                 {"gelu", 1},
                                                 {"gelu_tanh", 1},
                                                 {"tanh", 1},
                                                 {"silu", 1},
                                                 {"linear", 1},
                                                 {"matmul", 1},
                                                 {"activation_linear", 1},
                                                 {"layer_norm", 1},
                                                 {"gather_rows", 1},
                                                 {"low_rank_update", 2},
                                                 {"dropout_residual_layer_norm", 2},
                                                 {"slice_columns", 1},
                                                 {"convert", 1},
                                                 {"reshape", 1},
                                                 {"packed_self_attention", 1},
                                                 {"packed_attention", 2}};
  return ops;
}

/// run() with activations in bfloat16 and parameters in float32.
OpResult run_in_bfloat16(const OpCase& op_case) {
  const size_t num_activations =
      op_case.variant == "input is its own residual" ? 1 : ops_in_bfloat16().at(op_case.op);
  std::vector<Variable> leaves;
  for (size_t i = 0; i < op_case.inputs.size(); ++i) {
    const DType dtype = i < num_activations ? DType::bfloat16 : DType::float32;
    leaves.emplace_back(op_case.inputs[i].to(dtype), /*requires_grad=*/true);
  }
  const Variable output = op_case.function(leaves);
  BOOST_CHECK(output.dtype() == DType::bfloat16);
  OpResult result{values_of(output.tensor()), output.shape(), {}};
  const Variable weights(random_tensor(output.shape(), 99, DType::float32));
  sum(multiply(convert(output, DType::float32), weights)).backward();
  for (const Variable& leaf : leaves) {
    BOOST_CHECK(leaf.grad().dtype() == leaf.dtype());
    result.gradients.push_back(values_of(leaf.grad()));
  }
  return result;
}

/// |found - expected| / |expected| of all elements together, with at least 0.1 for each expected one.
double relative_distance(const std::vector<double>& found, const std::vector<double>& expected) {
  double error = 0, size = 0.01 * static_cast<double>(expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(found.at(i) - expected[i], 2);
    size += std::pow(expected[i], 2);
  }
  return expected.empty() ? 0 : std::sqrt(error / size);
}

/// Runs `check` on each case, with its name in the message of a failure.
template <typename Function>
void for_each_case(Function&& check) {
  for (const OpCase& op_case : op_cases()) {
    BOOST_TEST_CONTEXT(op_case.op << ", " << op_case.variant) {
      check(op_case);
    }
  }
}

/// The names of the functions that return a Variable, as the headers of autograd/ declare them.
std::set<std::string> public_ops() {
  constexpr std::string_view result = "Variable ";  // at the beginning of a declaration
  std::set<std::string> ops;
  for (const auto& file : std::filesystem::directory_iterator(NORMTUNE_TEST_FILES "/../../autograd")) {
    if (file.path().extension() != ".h" || file.path().filename() == "variable.h") continue;
    std::ifstream stream(file.path());
    for (std::string line; std::getline(stream, line);) {
      const size_t parenthesis = line.find('(');
      if (!line.starts_with(result) || parenthesis == std::string::npos) continue;
      ops.insert(line.substr(result.size(), parenthesis - result.size()));
    }
  }
  return ops;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(op_cases)

BOOST_AUTO_TEST_CASE(every_public_op_has_a_case) {
  std::set<std::string> tested;
  for (const OpCase& op_case : test::op_cases()) tested.insert(op_case.op);
  const std::set<std::string> ops = public_ops();
  BOOST_TEST(ops.size() >= 29u);
  BOOST_TEST(ops == tested, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(gradients_equal_central_differences) {
  for_each_case([](const OpCase& op_case) {
    const GradcheckResult result = normtune::gradcheck(op_case.function, op_case.inputs);
    BOOST_CHECK_MESSAGE(result, result.message);
  });
}

BOOST_AUTO_TEST_CASE(values_and_gradients_equal_the_reference) {
  for_each_case([](const OpCase& op_case) {
    const OpResult found = run(op_case.function, op_case.inputs, DType::float64);
    const OpResult expected = run(op_case.reference, op_case.inputs, DType::float64);
    BOOST_CHECK(found.output_shape == expected.output_shape);
    BOOST_CHECK_LE(largest_error(found.output, expected.output), op_case.tolerance.float64);
    for (size_t i = 0; i < expected.gradients.size(); ++i) {
      BOOST_TEST_CONTEXT("input " << i)
      BOOST_CHECK_LE(largest_error(found.gradients.at(i), expected.gradients[i]), 1e-12);
    }
  });
}

BOOST_AUTO_TEST_CASE(float32_is_close_to_float64) {
  for_each_case([](const OpCase& op_case) {
    const std::vector<Tensor> inputs = rounded_to_float32(op_case.inputs);
    const OpResult found = run(op_case.function, inputs, DType::float32);
    const OpResult expected = run(op_case.function, inputs, DType::float64);
    BOOST_CHECK_LE(largest_error(found.output, expected.output), op_case.tolerance.float32);
    BOOST_REQUIRE(found.gradients.size() == expected.gradients.size());
    for (size_t i = 0; i < expected.gradients.size(); ++i) {
      BOOST_TEST_CONTEXT("input " << i)
      BOOST_CHECK_LE(largest_error(found.gradients[i], expected.gradients[i]), 1e-5);
    }
  });
}

BOOST_AUTO_TEST_CASE(activations_in_bfloat16_are_close_to_float64) {
  size_t cases = 0;
  for_each_case([&](const OpCase& op_case) {
    if (!ops_in_bfloat16().contains(op_case.op)) return;
    const OpResult found = run_in_bfloat16(op_case);
    const OpResult expected = run(op_case.function, op_case.inputs, DType::float64);
    BOOST_CHECK_LE(relative_distance(found.output, expected.output), 2e-2);
    for (size_t i = 0; i < expected.gradients.size(); ++i) {
      BOOST_TEST_CONTEXT("input " << i)
      BOOST_CHECK_LE(relative_distance(found.gradients[i], expected.gradients[i]), 5e-2);  // sums may cancel
    }
    ++cases;
  });
  BOOST_TEST(cases > ops_in_bfloat16().size());
}

BOOST_AUTO_TEST_CASE(bits_do_not_depend_on_the_number_of_threads) {
  const int threads = omp_get_max_threads();
  for_each_case([](const OpCase& op_case) {
    for (DType dtype : {DType::float32, DType::float64}) {
      omp_set_num_threads(1);
      const OpResult expected = run(op_case.function, op_case.inputs, dtype);
      for (int num_threads : {2, 3}) {
        omp_set_num_threads(num_threads);
        const OpResult found = run(op_case.function, op_case.inputs, dtype);
        BOOST_CHECK(found.output == expected.output);
        BOOST_CHECK(found.gradients == expected.gradients);
      }
    }
  });
  omp_set_num_threads(threads);
}

BOOST_AUTO_TEST_CASE(nothing_is_recorded_under_no_grad_and_the_value_is_the_same) {
  for_each_case([](const OpCase& op_case) {
    std::vector<Variable> leaves;
    for (const Tensor& input : op_case.inputs) leaves.emplace_back(input, /*requires_grad=*/true);
    const Variable recorded = op_case.function(leaves);
    NoGradGuard no_grad;
    const Variable output = op_case.function(leaves);
    BOOST_CHECK(recorded.requires_grad() && !recorded.is_leaf());
    BOOST_CHECK(!output.requires_grad() && output.is_leaf());
    BOOST_CHECK(values_of(output.tensor()) == values_of(recorded.tensor()));
  });
}

BOOST_AUTO_TEST_CASE(frozen_inputs_save_nothing) {
  for_each_case([](const OpCase& op_case) {
    std::vector<Variable> frozen;
    for (const Tensor& input : op_case.inputs) frozen.emplace_back(input);
    BOOST_TEST(saved_bytes(op_case.function(frozen), {}) == 0u);
  });
}

BOOST_AUTO_TEST_CASE(backward_releases_what_was_saved_and_runs_once) {
  for_each_case([](const OpCase& op_case) {
    std::vector<Variable> leaves;
    for (const Tensor& input : op_case.inputs) leaves.emplace_back(input, /*requires_grad=*/true);
    const Variable output = op_case.function(leaves), loss = sum(output);
    loss.backward();
    BOOST_TEST(saved_bytes(output, {}) == 0u);  // although `output` still holds its node
    BOOST_CHECK_EXCEPTION(loss.backward(), std::logic_error, says("each graph serves one backward()"));
  });
}

BOOST_AUTO_TEST_CASE(memory_in_use_returns_to_where_it_was) {
  Allocator& allocator = backend_of({}).allocator();
  for_each_case([&](const OpCase& op_case) {
    const size_t before = allocator.stats().in_use;
    run(op_case.function, op_case.inputs, DType::float64);
    BOOST_TEST(allocator.stats().in_use == before);
  });
}

BOOST_AUTO_TEST_SUITE_END()
