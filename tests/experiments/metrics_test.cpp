#include "experiments/metrics.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nn/json_file.h"
#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;

namespace {

nlohmann::json recorded_metrics(const std::string& key) {
  return read_json_file(std::filesystem::path(NORMTUNE_TEST_FILES) / "metrics.json", ErrorKind::data).at(key);
}

void check_close(std::optional<double> found, const nlohmann::json& expected) {
  BOOST_REQUIRE(found.has_value() == !expected.is_null());
  if (found)
    BOOST_CHECK_MESSAGE(std::abs(*found - expected.get<double>()) <= 1e-12, *found << " != " << expected);
}

Dataset dataset_of(const Task& task, const std::vector<double>& labels, const std::string& split = "dev") {
  Dataset dataset{
      .task = task.name, .split = split, .label_names = task.label_names, .regression = task.regression};
  for (double label : labels) {
    Example example{.sentence1 = "a"};
    if (task.regression) example.target = label;
    if (!task.regression) example.label = static_cast<int32_t>(label);
    dataset.examples.push_back(example);
  }
  return dataset;
}

/// Logits whose largest value is at the given class.
std::vector<double> one_hot(const std::vector<int>& classes, int num_classes) {
  std::vector<double> logits(classes.size() * static_cast<size_t>(num_classes), -0.5);
  for (size_t i = 0; i < classes.size(); ++i)
    logits[i * static_cast<size_t>(num_classes) + static_cast<size_t>(classes[i])] = 1.5;
  return logits;
}

std::string keys_of(const Metrics& metrics) {
  std::string keys;
  for (const auto& [key, value] : metrics.values) keys += key + " ";
  return keys;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(metrics)

BOOST_AUTO_TEST_CASE(classes_as_scikit_learn_scores_them) {
  for (const auto& expected : recorded_metrics("classes")) {
    BOOST_TEST_CONTEXT(expected.at("name")) {
      const auto predictions = expected.at("predictions").get<std::vector<int32_t>>();
      const auto labels = expected.at("labels").get<std::vector<int32_t>>();
      const auto num_classes = expected.at("num_classes").get<int64_t>();
      check_close(accuracy(predictions, labels), expected.at("accuracy"));
      check_close(matthews_correlation(predictions, labels), expected.at("matthews_correlation"));
      check_close(macro_f1_score(predictions, labels, num_classes), expected.at("macro_f1"));
      if (num_classes == 2) check_close(f1_score(predictions, labels, 1), expected.at("f1"));
    }
  }
}

BOOST_AUTO_TEST_CASE(scores_as_scipy_correlates_them) {
  for (const auto& expected : recorded_metrics("scores")) {
    BOOST_TEST_CONTEXT(expected.at("name")) {
      const auto predictions = expected.at("predictions").get<std::vector<double>>();
      const auto targets = expected.at("targets").get<std::vector<double>>();
      check_close(pearson(predictions, targets), expected.at("pearson"));
      check_close(spearman(predictions, targets), expected.at("spearmanr"));
    }
  }
}

BOOST_AUTO_TEST_CASE(correlations_of_too_little) {
  BOOST_TEST(!pearson(std::vector<double>{}, std::vector<double>{}).has_value());
  BOOST_TEST(!pearson(std::vector<double>{1}, std::vector<double>{2}).has_value());
  BOOST_TEST(!spearman(std::vector<double>{1}, std::vector<double>{2}).has_value());
  BOOST_CHECK_THROW(pearson(std::vector<double>{1, 2}, std::vector<double>{2}), std::invalid_argument);
  BOOST_CHECK_THROW(accuracy(std::vector<int32_t>{}, std::vector<int32_t>{}), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(argmax_takes_the_lowest_index) {
  const std::vector<double> logits = {1, 1, 0, /**/ -3, -2, -2, /**/ 0, 0, 0};
  BOOST_TEST(argmax_rows(logits, 3) == (std::vector<int32_t>{0, 1, 0}), boost::test_tools::per_element());
  const double nan = std::nan("");
  check_error_parts(ErrorKind::numeric, {"row 1", "finite logits", "nan"}, [&] {
    argmax_rows(std::vector<double>{1, 2, nan, 0}, 2);
  });
  check_error_parts(ErrorKind::numeric, {"row 0", "inf"}, [&] {
    argmax_rows(std::vector<double>{INFINITY, 0}, 2);
  });
  BOOST_CHECK_THROW(argmax_rows(std::vector<double>{1, 2, 3}, 2), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(keys_of_the_tasks) {
  const auto keys = [](const char* name, const std::string& split = "dev") {
    const Task& task = find_task(name);
    const Dataset dataset = dataset_of(task, {0, 1}, split);
    const auto logits =
        task.regression ? std::vector<double>{0.5, 0.25} : one_hot({0, 1}, static_cast<int>(task.num_labels));
    return keys_of(compute_metrics(task, dataset, logits));
  };
  BOOST_TEST(keys("cola") == "matthews_correlation ");
  BOOST_TEST(keys("sst2") == "accuracy ");
  BOOST_TEST(keys("mrpc") == "accuracy f1 combined_score ");
  BOOST_TEST(keys("qqp") == "accuracy f1 combined_score ");
  BOOST_TEST(keys("stsb") == "pearson spearmanr combined_score ");
  BOOST_TEST(keys("mnli", "dev_matched") == "accuracy ");
  BOOST_TEST(keys("mnli", "dev_mismatched") == "accuracy_mm ");
  BOOST_TEST(keys("qnli") == "accuracy ");
  BOOST_TEST(keys("rte") == "accuracy ");
  BOOST_TEST(keys("wnli") == "accuracy ");
}

BOOST_AUTO_TEST_CASE(own_files) {
  const Task two = own_task({"no", "yes"}, false);
  const Metrics binary = compute_metrics(two, dataset_of(two, {1, 1, 0, 0}), one_hot({1, 0, 0, 1}, 2));
  BOOST_TEST(keys_of(binary) == "accuracy f1 ");
  BOOST_TEST(*binary.values[1].second == 0.5);
  const Task three = own_task({"a", "b", "c"}, false);
  const Metrics macro = compute_metrics(three, dataset_of(three, {0, 1, 2}), one_hot({0, 1, 1}, 3));
  // F1 of a: 1, of b: 2/3, of c: 0.
  BOOST_CHECK(std::abs(*macro.values[1].second - 5.0 / 9.0) <= 1e-15);
  const Task scores = own_task({}, true);
  const Metrics regression =
      compute_metrics(scores, dataset_of(scores, {1, 2, 4}), std::vector<double>{2, 3, 9});
  BOOST_TEST(keys_of(regression) == "pearson spearmanr ");
  BOOST_CHECK(std::abs(*regression.values[1].second - 1.0) <= 1e-15);
}

BOOST_AUTO_TEST_CASE(degenerate_runs) {
  const Task& cola = find_task("cola");
  const Dataset labels = dataset_of(cola, {1, 1, 1, 0});
  BOOST_TEST(compute_metrics(cola, labels, one_hot({1, 1, 1, 1}, 2)).degenerate);
  BOOST_TEST(compute_metrics(cola, labels, one_hot({0, 0, 0, 0}, 2)).degenerate);
  BOOST_TEST(!compute_metrics(cola, labels, one_hot({1, 1, 1, 0}, 2)).degenerate);
  const Task& sst2 = find_task("sst2");
  // Not constant, but no better than the majority class: 3 of 4 right.
  const Metrics as_majority = compute_metrics(sst2, dataset_of(sst2, {1, 1, 1, 0}), one_hot({1, 1, 0, 0}, 2));
  BOOST_TEST(as_majority.degenerate);
  BOOST_TEST(*as_majority.majority_score == 0.75);
  const Task& stsb = find_task("stsb");
  const Metrics constant =
      compute_metrics(stsb, dataset_of(stsb, {1, 2, 3}), std::vector<double>{0.1, 0.1, 0.1});
  BOOST_TEST(constant.degenerate);
  for (const auto& [key, value] : constant.values) BOOST_TEST(!value.has_value(), key);
  BOOST_TEST(!constant.majority_score.has_value());
}

BOOST_AUTO_TEST_CASE(headlines) {
  const Task& mnli = find_task("mnli");
  const Metrics matched{.values = {{"accuracy", 0.8}}, .majority_score = 0.3};
  const Metrics mismatched{.values = {{"accuracy_mm", 0.6}}, .majority_score = 0.5, .degenerate = true};
  const Metrics both = merge_metrics({matched, mismatched});
  BOOST_TEST(keys_of(both) == "accuracy accuracy_mm ");
  BOOST_TEST(both.degenerate);
  BOOST_CHECK(std::abs(*both.majority_score - 0.4) <= 1e-15);
  BOOST_CHECK(std::abs(*headline_score(mnli, both) - 0.7) <= 1e-15);
  BOOST_TEST(*headline_score(mnli, both, "accuracy") == 0.8);
  BOOST_TEST(*headline_score(mnli, both, "eval_accuracy_mm") == 0.6);
  BOOST_TEST(*headline_score(mnli, matched) == 0.8);
  BOOST_TEST(*headline_score(mnli, mismatched) == 0.6);
  check_error_parts(ErrorKind::usage, {"mnli has no metric 'acuracy'", "did you mean 'accuracy'"},
                    [&] { headline_score(mnli, both, "acuracy"); });
  const Metrics undefined{.values = {{"spearmanr", std::nullopt}}};
  BOOST_TEST(!headline_score(find_task("stsb"), undefined).has_value());
}

BOOST_AUTO_TEST_CASE(splits_without_labels) {
  const Task& ax = find_task("ax");
  Dataset dataset = dataset_of(ax, {-1, -1}, "test");
  dataset.labelled = false;
  check_error_parts(ErrorKind::usage, {"ax test", "labels"}, [&] {
    compute_metrics(ax, dataset, one_hot({0, 1}, 3));
  });
  BOOST_CHECK_THROW(
      compute_metrics(find_task("cola"), dataset_of(find_task("cola"), {0, 1}), one_hot({0}, 2)),
      std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
