#include "experiments/fisher.h"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/json_file.h"
#include "tests/experiments/tiny_run.h"
#include "tests/nn/oracle.h"

using namespace normtune;
using namespace normtune::oracle;
using namespace normtune::tiny;
namespace data = boost::unit_test::data;

namespace {

const std::vector<std::string> cases = {"fisher_classes", "fisher_two_classes", "fisher_regression"};

Tensor recorded_labels(const Case& recorded) {
  return recorded.config.is_regression()
             ? recorded.tensor("labels")
             : select_labels(recorded.integers("labels"), recorded.all_examples());
}

FisherOptions tiny_options(const Workspace& workspace, const std::string& task = "sst2") {
  FisherOptions options;
  options.model_name_or_path = workspace.model;
  options.task = {.task_name = task, .glue_dir = workspace.glue};
  options.max_seq_length = 32;
  return options;
}

FisherMeasurement measure(const FisherOptions& options) {
  FisherInput input = load_fisher_input(options);
  return measure_fisher(input, options).value();
}

/// The largest relative L2 distance of two measurements over all tensors but noise.
double distance(const FisherMeasurement& a, const FisherMeasurement& b) {
  double largest = 0;
  for (size_t i = 0; i < a.elements.size(); ++i) {
    if (is_key_bias(a.elements[i].name)) continue;
    largest = worse(relative_l2_error(doubles(a.elements[i].tensor), doubles(b.elements[i].tensor)), largest);
  }
  return largest;
}

std::vector<std::vector<double>> all_bits(const FisherMeasurement& measurement) {
  std::vector<std::vector<double>> values;
  for (const NamedTensor& named : measurement.elements) values.push_back(doubles(named.tensor));
  return values;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(fisher)

BOOST_DATA_TEST_CASE(equals_pytorch,
                     data::make(cases) * data::make({"float32", "float64"}) *
                         data::make({"fisher", "expected_fisher"}),
                     name, precision, form) {
  const Case recorded(recorded_cases, name);
  const DType dtype = precision == std::string("float64") ? DType::float64 : DType::float32;
  Bert model(recorded.config, BertHead::classification, dtype);
  for (Parameter& parameter : model.parameters()) {
    fill_with_generated_weight(parameter);
    parameter.variable.set_requires_grad(true);
  }
  const FisherKind kind = form == std::string("fisher") ? FisherKind::empirical : FisherKind::expected;
  add_squared_scores(model, recorded.batch(), recorded_labels(recorded), kind);
  const auto num_examples = static_cast<double>(recorded.num_examples());
  BOOST_TEST(recorded.names(std::string(form) + ".").size() == model.parameters().size());
  for (const Parameter& parameter : model.parameters()) {
    if (is_key_bias(parameter.name)) continue;
    std::vector<double> mean = doubles(parameter.variable.grad());
    for (double& value : mean) value /= num_examples;
    const std::vector<double> expected = recorded.values(fmt::format("{}.{}", form, parameter.name));
    BOOST_TEST_CONTEXT(parameter.name) {
      BOOST_TEST(relative_l2_error(mean, expected) <= (dtype == DType::float64 ? 1e-6 : 1e-4));
    }
  }
}

BOOST_DATA_TEST_CASE(does_not_depend_on_the_batch,
                     data::make({"sst2", "rte", "stsb"}) * data::make({false, true}), task, expected) {
  const Workspace workspace;
  FisherOptions options = tiny_options(workspace, task);
  options.expected = expected;
  options.precision = Precision::fp64;
  const FisherMeasurement whole = measure(options);
  options.batch_size = 1;
  BOOST_TEST(distance(measure(options), whole) <= 1e-10);
  options.batch_size = 7;
  options.last_layer_cls_only = false;
  BOOST_TEST(distance(measure(options), whole) <= 1e-10);
}

BOOST_AUTO_TEST_CASE(equal_bits_for_any_number_of_threads) {
  const Workspace workspace;
  const FisherOptions options = tiny_options(workspace, "rte");
  const ThreadCount one(1);
  const std::vector<std::vector<double>> expected = all_bits(measure(options));
  for (const int threads : {1, 2, 4}) {
    const ThreadCount count(threads);
    BOOST_CHECK(all_bits(measure(options)) == expected);
  }
}

BOOST_AUTO_TEST_CASE(the_first_rows_and_what_was_drawn) {
  const Workspace workspace;
  FisherOptions options = tiny_options(workspace);
  options.num_samples = 5;
  const FisherReport report = measure(options).report;
  BOOST_TEST(report.source.samples == 5);
  BOOST_TEST(report.source.split == "train");
  BOOST_TEST(report.source.fresh == (std::vector<std::string>{"classifier.weight", "classifier.bias"}),
             boost::test_tools::per_element());
  options.init_seed = 7;
  BOOST_TEST(measure(options).report.components.front().mean != report.components.front().mean);
}

BOOST_AUTO_TEST_CASE(rows_pool_their_tensors) {
  const Workspace workspace;
  const FisherMeasurement measurement = measure(tiny_options(workspace));
  const FisherReport& report = measurement.report;
  double total = 0;
  for (const NamedTensor& named : measurement.elements) {
    for (const double value : doubles(named.tensor)) total += value;
  }
  for (const auto* rows :
       {&report.components, &report.component_parts, &report.component_layers, &report.tensors}) {
    double sum = 0;
    for (const FisherRow& row : *rows) {
      sum += row.sum;
      BOOST_TEST(row.mean == row.sum / static_cast<double>(row.group.elements));
      BOOST_TEST(row.max >= row.mean);
    }
    BOOST_TEST(std::abs(sum / total - 1) <= 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(a_report_goes_through_json_and_files) {
  const Workspace workspace;
  const FisherMeasurement measurement = measure(tiny_options(workspace));
  const fs::path folder = workspace.folder / "fisher";
  write_fisher(measurement, folder);
  const FisherReport again = read_fisher_report(folder / "fisher.json");
  BOOST_CHECK(to_json(again) == to_json(measurement.report));
  for (const char* name : {"components.csv", "component_parts.csv", "component_layers.csv", "tensors.csv"}) {
    BOOST_TEST(fs::exists(folder / name), name);
  }
  const SafetensorsFile elements(folder / "fisher.safetensors");
  BOOST_TEST(elements.names().size() == measurement.elements.size());
  BOOST_TEST(elements.metadata().at("base_model_sha256") ==
             measurement.report.source.model_sha256.at("weights"));
  fixtures::check_error_parts(ErrorKind::data, {"here: expected what normtune fisher writes"}, [] {
    fisher_report_from_json({{"tensors", 1}}, "here");
  });
}

BOOST_AUTO_TEST_CASE(a_model_in_training_state_is_left_as_it_was) {
  const Workspace workspace;
  const FisherOptions options = tiny_options(workspace);
  FisherInput input = load_fisher_input(options);
  Variable gain = input.model.bert.parameters().at("bert.embeddings.LayerNorm.weight").variable;
  gain.set_requires_grad(true);
  measure_fisher(input, options);
  for (const Parameter& parameter : input.model.bert.parameters()) {
    BOOST_TEST(parameter.variable.requires_grad() == (parameter.name == "bert.embeddings.LayerNorm.weight"));
    BOOST_TEST(!parameter.variable.grad().defined());
  }
}

BOOST_AUTO_TEST_SUITE_END()
