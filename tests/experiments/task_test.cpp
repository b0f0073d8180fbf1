#include "experiments/task.h"

#include <boost/test/unit_test.hpp>

#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;

BOOST_AUTO_TEST_SUITE(task)

BOOST_AUTO_TEST_CASE(ten_tasks) {
  std::string names;
  for (const Task& task : glue_tasks()) names += task.name + " ";
  BOOST_TEST(names == "cola sst2 mrpc qqp stsb mnli qnli rte wnli ax ");
}

BOOST_AUTO_TEST_CASE(class_order_is_that_of_published_checkpoints) {
  const auto labels = [](const char* name) {
    return fmt::format("{}", fmt::join(find_task(name).label_names, " "));
  };
  BOOST_TEST(labels("cola") == "unacceptable acceptable");
  BOOST_TEST(labels("sst2") == "negative positive");
  BOOST_TEST(labels("mrpc") == "not_equivalent equivalent");
  BOOST_TEST(labels("qqp") == "not_duplicate duplicate");
  BOOST_TEST(labels("stsb") == "");
  BOOST_TEST(labels("mnli") == "entailment neutral contradiction");
  BOOST_TEST(labels("ax") == "entailment neutral contradiction");
  BOOST_TEST(labels("qnli") == "entailment not_entailment");
  BOOST_TEST(labels("rte") == "entailment not_entailment");
  BOOST_TEST(labels("wnli") == "not_entailment entailment");
}

BOOST_AUTO_TEST_CASE(descriptors_are_consistent) {
  for (const Task& task : glue_tasks()) {
    BOOST_TEST_CONTEXT(task.name) {
      BOOST_TEST(task.label_names.size() == task.file_labels.size());
      BOOST_TEST(task.num_labels == (task.regression ? 1 : static_cast<int64_t>(task.label_names.size())));
      BOOST_TEST(!task.default_metric.empty());
      for (const TaskSplit& split : task.splits) {
        BOOST_TEST(!split.files.empty());
        BOOST_TEST(split.submission_file.empty() ==
                   !(split.name.starts_with("test") && split.layout.label.empty()));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(headline_metrics) {
  BOOST_TEST(find_task("cola").default_metric == "matthews_correlation");
  BOOST_TEST(find_task("mrpc").default_metric == "f1");
  BOOST_TEST(find_task("qqp").default_metric == "f1");
  BOOST_TEST(find_task("stsb").default_metric == "spearmanr");
  BOOST_TEST(find_task("mnli").default_metric == "mean_accuracy");
  BOOST_TEST(find_task("rte").default_metric == "accuracy");
  BOOST_TEST(own_task({"a", "b"}, false).default_metric == "accuracy");
  BOOST_TEST(own_task({}, true).default_metric == "pearson");
  BOOST_TEST(own_task({}, true).num_labels == 1);
}

BOOST_AUTO_TEST_CASE(names_are_found_and_suggested) {
  BOOST_TEST(find_task("CoLA").name == "cola");
  BOOST_TEST(find_task("SST-2").name == "sst2");
  check_error_parts(ErrorKind::usage, {"'colla'", "did you mean 'cola'", "stsb"}, [] { find_task("colla"); });
  check_error_parts(ErrorKind::usage, {"did you mean 'mnli'"}, [] { find_task("mnlii"); });
  check_error_parts(ErrorKind::usage, {"unknown task ''"}, [] { find_task(""); });
}

BOOST_AUTO_TEST_CASE(splits) {
  const auto names = [](const char* task, const char* split) {
    return fmt::format("{}", fmt::join(split_names(find_task(task), split), " "));
  };
  BOOST_TEST(names("rte", "dev") == "dev");
  BOOST_TEST(names("mnli", "dev") == "dev_matched dev_mismatched");
  BOOST_TEST(names("mnli", "test") == "test_matched test_mismatched");
  BOOST_TEST(names("mnli", "test_labelled") == "test_labelled_matched test_labelled_mismatched");
  BOOST_TEST(names("mnli", "dev_mismatched") == "dev_mismatched");
  BOOST_TEST(names("mnli", "train") == "train");
  check_error_parts(ErrorKind::usage, {"rte", "'develop'", "did you mean 'dev'"},
                    [&] { names("rte", "develop"); });
  check_error_parts(ErrorKind::usage, {"ax", "'train'", "Its splits are test"},
                    [&] { names("ax", "train"); });
}

BOOST_AUTO_TEST_SUITE_END()
