#include "experiments/fisher.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/cuda/device_testing.h"
#include "tests/experiments/tiny_run.h"
#include "tests/nn/oracle.h"

using namespace normtune;
using namespace normtune::test;
using tiny::Workspace;

/// Fisher information measured on the device, from model and data to the report.
BOOST_AUTO_TEST_SUITE(fisher)

namespace {

FisherMeasurement measure(FisherOptions options, Device device) {
  options.device = device;
  FisherInput input = load_fisher_input(options);
  return measure_fisher(input, options).value();
}

/// Within a share of the largest element.
void check_elements(const NamedTensor& found, const NamedTensor& expected, double tolerance) {
  BOOST_REQUIRE(found.name == expected.name);
  const std::vector<float> values = found.tensor.to_vector<float>(),
                           exact = expected.tensor.to_vector<float>();
  BOOST_REQUIRE(values.size() == exact.size());
  double error = 0, size = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    error = std::max(error, std::abs(static_cast<double>(values[i]) - static_cast<double>(exact[i])));
    size = std::max(size, std::abs(static_cast<double>(exact[i])));
  }
  BOOST_CHECK_MESSAGE(error <= tolerance * size, found.name << ": " << error << " of " << size);
}

/// Of a tensor's gradients.
double sum_of_squares(const std::vector<NamedTensor>& elements, const std::string& name) {
  const std::vector<float> values =
      std::ranges::find(elements, name, &NamedTensor::name)->tensor.to_vector<float>();
  return std::accumulate(values.begin(), values.end(), 0.0);
}

/// Largest errors: of an element, as a share of the tensor's largest one, and of the key bias, whose gradient
/// is zero but for rounding, the norm of the gradient in norms of the query bias's.
struct Tolerances {
  double element, key_bias;
};

void check_measurement(const FisherMeasurement& found, const FisherMeasurement& expected,
                       const Tolerances& tolerances) {
  BOOST_REQUIRE(found.elements.size() == expected.elements.size());
  for (size_t i = 0; i < expected.elements.size(); ++i) {
    const std::string& name = expected.elements[i].name;
    if (oracle::is_key_bias(name)) {
      const double query_bias = sum_of_squares(expected.elements, oracle::query_bias_of(name));
      BOOST_TEST(sum_of_squares(found.elements, name) <= std::pow(tolerances.key_bias, 2) * query_bias);
    } else {
      check_elements(found.elements[i], expected.elements[i], tolerances.element);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(equals_the_cpu) {
  if (!device_at_hand()) return;
  const Workspace workspace;
  for (const std::string task : {"sst2", "stsb"}) {
    for (const bool expected_form : {false, true}) {
      BOOST_TEST_CONTEXT(task << (expected_form ? ", expected form" : "")) {
        FisherOptions options{.model_name_or_path = workspace.model, .expected = expected_form};
        options.task.task_name = task;
        options.task.glue_dir = workspace.glue;
        options.max_seq_length = 16;
        const FisherMeasurement on_cpu = measure(options, {}), on_device = measure(options, cuda_device);
        check_measurement(on_device, on_cpu, {.element = 1e-4, .key_bias = 1e-5});
        BOOST_REQUIRE(on_device.report.components.size() == on_cpu.report.components.size());
      }
    }
  }
}

/// Squares of gradients that are sums of numbers rounded by 2^-9 each.
BOOST_AUTO_TEST_CASE(is_near_the_cpu_in_bfloat16) {
  if (!device_at_hand()) return;
  const Workspace workspace;
  FisherOptions options{.model_name_or_path = workspace.model};
  options.task.task_name = "sst2";
  options.task.glue_dir = workspace.glue;
  options.max_seq_length = 16;
  const FisherMeasurement on_cpu = measure(options, {});
  options.precision = Precision::bf16;
  const FisherMeasurement on_device = measure(options, cuda_device);
  use_precision(Precision::fp32, cuda_device);
  check_measurement(on_device, on_cpu, {.element = 0.1, .key_bias = 0.1});
}

BOOST_AUTO_TEST_SUITE_END()
