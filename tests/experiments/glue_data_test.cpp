// The real tasks, as published: row counts, label counts, first and last rows.
#include <boost/test/unit_test.hpp>
#include <fstream>

#include "experiments/dataset.h"
#include "tests/experiments/fixtures.h"

using namespace normtune;

namespace {

struct Expected {
  const char* task;
  const char* split;
  size_t rows;
  int64_t ones = -1;  // rows of class 1; -1: no labels
};

const std::vector<Expected> expected_counts = {
    {"cola", "train", 8551, 6023},   {"cola", "dev", 1043, 721}, {"cola", "test", 1063},
    {"sst2", "train", 67349, 37569}, {"sst2", "dev", 872, 444},  {"sst2", "test", 1821},
    {"mrpc", "train", 3668, 2474},   {"mrpc", "dev", 408, 279},  {"mrpc", "test", 1725},
    {"qnli", "dev", 5463, 2761},     {"qnli", "test", 5463},     {"rte", "train", 2490, 1241},
    {"rte", "dev", 277, 131},        {"rte", "test", 3000},      {"wnli", "train", 635, 312},
    {"wnli", "dev", 71, 31},         {"wnli", "test", 146},      {"ax", "test", 1104},
    {"stsb", "train", 5749},         {"stsb", "dev", 1500},      {"stsb", "test", 1379},
};

double mean_target(const Dataset& dataset) {
  double sum = 0.0;
  for (const Example& example : dataset.examples) sum += example.target;
  return sum / static_cast<double>(dataset.examples.size());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(glue_data)

BOOST_AUTO_TEST_CASE(row_and_label_counts) {
  const auto folder = fixtures::real_glue_folder();
  if (!folder) return;
  for (const Expected& expected : expected_counts) {
    BOOST_TEST_CONTEXT(expected.task << " " << expected.split) {
      const Dataset dataset = load_glue(find_task(expected.task), *folder, expected.split);
      BOOST_TEST(dataset.examples.size() == expected.rows);
      BOOST_TEST(dataset.warnings.empty());
      if (expected.ones < 0) continue;
      int64_t ones = 0;
      for (const Example& example : dataset.examples) {
        BOOST_REQUIRE(example.label >= 0);
        ones += example.label;
      }
      BOOST_TEST(ones == expected.ones);
    }
  }
}

BOOST_AUTO_TEST_CASE(test_splits_count_from_zero) {
  const auto folder = fixtures::real_glue_folder();
  if (!folder) return;
  for (const char* task : {"cola", "sst2", "mrpc", "stsb", "qnli", "rte", "wnli", "ax"}) {
    const Dataset dataset = load_glue(find_task(task), *folder, "test");
    int64_t row = 0;
    for (const Example& example : dataset.examples) BOOST_REQUIRE(example.idx == row++);
  }
}

BOOST_AUTO_TEST_CASE(sts_mean_scores) {
  const auto folder = fixtures::real_glue_folder();
  if (!folder) return;
  const Task& task = find_task("stsb");
  BOOST_CHECK(std::abs(mean_target(load_glue(task, *folder, "train")) - 2.701) <= 5e-4);
  BOOST_CHECK(std::abs(mean_target(load_glue(task, *folder, "dev")) - 2.364) <= 5e-4);
}

BOOST_AUTO_TEST_CASE(first_and_last_rows) {
  const auto folder = fixtures::real_glue_folder();
  if (!folder) return;
  const Dataset cola = load_glue(find_task("cola"), *folder, "train");
  BOOST_TEST(cola.examples.front().sentence1 ==
             "Our friends won't buy this analysis, let alone the next one we propose.");
  const Dataset sst2 = load_glue(find_task("sst2"), *folder, "train");
  BOOST_TEST(sst2.examples.front().sentence1 == "hide new secretions from the parental units ");
  BOOST_TEST(sst2.examples.front().label == 0);
  const Dataset mrpc = load_glue(find_task("mrpc"), *folder, "train");
  BOOST_TEST(
      mrpc.examples.front().sentence1.starts_with("Amrozi accused his brother , whom he called \" the"));
  const Dataset stsb = load_glue(find_task("stsb"), *folder, "dev");
  BOOST_TEST(stsb.examples.front().sentence1 == "A man with a hard hat is dancing.");
  BOOST_TEST(*stsb.examples.front().sentence2 == "A man wearing a hard hat is dancing.");
  BOOST_TEST(stsb.examples.front().target == 5.0);
  BOOST_TEST(stsb.examples.back().idx == 1499);
  const Dataset qnli = load_glue(find_task("qnli"), *folder, "dev");
  BOOST_TEST(qnli.examples.front().sentence1 ==
             "What came into force after the new constitution was herald?");
  BOOST_TEST(qnli.examples.back().idx == 5462);
}

// The corpus that dev_ids.tsv divides, put together again from its two parts, gives the parts back.
BOOST_AUTO_TEST_CASE(mrpc_divided_by_ids) {
  const auto folder = fixtures::real_glue_folder();
  if (!folder) return;
  const std::string train = fixtures::content_of(*folder / "MRPC/train.tsv");
  const std::string dev = fixtures::content_of(*folder / "MRPC/dev.tsv");
  const fixtures::TemporaryFolder corpus;
  corpus.write("MRPC/msr_paraphrase_train.txt", train + dev.substr(dev.find('\n') + 1));
  corpus.write("MRPC/dev_ids.tsv", fixtures::content_of(*folder / "MRPC/dev_ids.tsv"));
  for (const char* split : {"train", "dev"}) {
    const Dataset divided = load_glue(find_task("mrpc"), corpus.path(), split);
    const Dataset published = load_glue(find_task("mrpc"), *folder, split);
    BOOST_TEST(divided.warnings.empty());
    BOOST_REQUIRE(divided.examples.size() == published.examples.size());
    for (size_t i = 0; i < divided.examples.size(); ++i) {
      const Example &a = divided.examples[i], &b = published.examples[i];
      BOOST_REQUIRE(a.sentence1 == b.sentence1 && a.sentence2 == b.sentence2 && a.label == b.label &&
                    a.idx == b.idx);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
