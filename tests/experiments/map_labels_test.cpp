#include <boost/test/unit_test.hpp>

#include "experiments/dataset.h"
#include "experiments/metrics.h"
#include "tests/experiments/fixtures.h"

using namespace normtune;

namespace {

Dataset dataset_of(const char* task_name, const std::vector<int32_t>& labels) {
  const Task& task = find_task(task_name);
  Dataset dataset{
      .task = task.name, .split = "dev", .label_names = task.label_names, .regression = task.regression};
  for (int32_t label : labels) dataset.examples.push_back({.sentence1 = "a", .label = label});
  return dataset;
}

std::vector<int32_t> labels_of(const Dataset& dataset) {
  std::vector<int32_t> labels;
  for (const Example& example : dataset.examples) labels.push_back(example.label);
  return labels;
}

using Labels = std::vector<int32_t>;

}  // namespace

BOOST_AUTO_TEST_SUITE(map_labels)

BOOST_AUTO_TEST_CASE(by_name) {
  Dataset mnli = dataset_of("mnli", {0, 1, 2, -1});
  normtune::map_labels(mnli, {"CONTRADICTION", "Entailment", "neutral"});
  BOOST_TEST(labels_of(mnli) == (Labels{1, 2, 0, -1}), boost::test_tools::per_element());
  BOOST_TEST(mnli.label_names == (std::vector<std::string>{"contradiction", "entailment", "neutral"}),
             boost::test_tools::per_element());
  BOOST_TEST(mnli.warnings.empty());

  Dataset rte = dataset_of("rte", {0, 1});
  normtune::map_labels(rte, {"not entailment", "entailment"});
  BOOST_TEST(labels_of(rte) == (Labels{1, 0}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(f1_follows_its_class) {
  Dataset mrpc = dataset_of("mrpc", {1, 1, 1, 0});
  normtune::map_labels(mrpc, {"equivalent", "not_equivalent"});
  BOOST_TEST(mrpc.positive_class == 0);
  // Predictions of the model: equivalent, equivalent, not, not -> TP 2, FP 0, FN 1 for "equivalent".
  const Metrics metrics =
      compute_metrics(find_task("mrpc"), mrpc, std::vector<double>{1, 0, 1, 0, 0, 1, 0, 1});
  BOOST_CHECK(std::abs(*headline_score(find_task("mrpc"), metrics) - 0.8) <= 1e-15);
}

BOOST_AUTO_TEST_CASE(names_that_were_never_given) {
  Dataset mnli = dataset_of("mnli", {0, 1, 2});
  normtune::map_labels(mnli, {"LABEL_0", "LABEL_1", "LABEL_2"});
  BOOST_TEST(labels_of(mnli) == (Labels{0, 1, 2}), boost::test_tools::per_element());
  BOOST_REQUIRE(mnli.warnings.size() == 1u);
  BOOST_TEST(mnli.warnings[0].find("entailment, neutral, contradiction") != std::string::npos);
  Dataset cola = dataset_of("cola", {0, 1});
  normtune::map_labels(cola, {"LABEL_0", "LABEL_1"});
  BOOST_TEST(cola.warnings.empty());
}

BOOST_AUTO_TEST_CASE(other_names) {
  Dataset cola = dataset_of("cola", {0, 1});
  normtune::map_labels(cola, {"positive", "negative"});
  BOOST_TEST(labels_of(cola) == (Labels{0, 1}), boost::test_tools::per_element());
  BOOST_TEST(cola.warnings.size() == 1u);
  // Three classes do not fit two: the caller draws a new classifier.
  Dataset other = dataset_of("cola", {0, 1});
  normtune::map_labels(other, {"entailment", "neutral", "contradiction"});
  BOOST_TEST(other.warnings.empty());
  Dataset stsb = dataset_of("stsb", {-1});
  normtune::map_labels(stsb, {"LABEL_0"});
  BOOST_TEST(stsb.warnings.empty());
}

BOOST_AUTO_TEST_SUITE_END()
