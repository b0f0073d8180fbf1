#include "experiments/tokenized_dataset.h"

#include <boost/test/unit_test.hpp>

#include "tests/experiments/tiny_run.h"

namespace normtune {

using tiny::Workspace;

namespace {

template <typename T>
std::vector<T> copy(std::span<const T> values) {
  return {values.begin(), values.end()};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tokenized_dataset)

BOOST_AUTO_TEST_CASE(holds_what_the_tokenizer_gives) {
  const Workspace workspace;
  const Tokenizer tokenizer = Tokenizer::from_folder(workspace.model);
  for (const std::string task : {"sst2", "rte"}) {
    const Dataset dataset = load_task_data({.task_name = task, .glue_dir = workspace.glue}).train;
    for (const int64_t max_length : {32, 9, 5}) {
      const TokenizedDataset data(dataset, tokenizer, max_length);
      BOOST_REQUIRE_EQUAL(data.size(), 26);
      BOOST_CHECK_EQUAL(data.has_pairs(), task == "rte");
      int64_t total = 0;
      for (int64_t i = 0; i < data.size(); ++i) {
        const Example& example = dataset.examples[static_cast<size_t>(i)];
        const Encoding encoding = tokenizer.encode(example.sentence1, example.sentence2, max_length);
        BOOST_CHECK(copy(data.example(i).input_ids) == encoding.input_ids);
        BOOST_CHECK(copy(data.example(i).token_type_ids) == encoding.token_type_ids);
        BOOST_CHECK_EQUAL(data.example(i).example_id, i);
        total += static_cast<int64_t>(encoding.input_ids.size());
      }
      BOOST_CHECK_EQUAL(data.total_tokens(), total);
    }
  }
}

BOOST_AUTO_TEST_CASE(does_not_depend_on_the_number_of_threads) {
  const Workspace workspace;
  const Tokenizer tokenizer = Tokenizer::from_folder(workspace.model);
  const Dataset dataset = load_task_data({.task_name = "rte", .glue_dir = workspace.glue}).train;
  const auto encode = [&](int threads) {
    const tiny::ThreadCount thread_count(threads);
    return TokenizedDataset(dataset, tokenizer, 16);
  };
  const TokenizedDataset one = encode(1), four = encode(4);
  for (int64_t i = 0; i < one.size(); ++i) {
    BOOST_CHECK(copy(one.example(i).input_ids) == copy(four.example(i).input_ids));
  }
}

BOOST_AUTO_TEST_CASE(batches_and_labels) {
  const Workspace workspace;
  const Tokenizer tokenizer = Tokenizer::from_folder(workspace.model);
  const std::vector<int64_t> indices = {7, 0, 3};
  const Dataset classes = load_task_data({.task_name = "rte", .glue_dir = workspace.glue}).train;
  const TokenizedDataset data(classes, tokenizer, 32);
  const PackedBatch batch = data.batch(indices);
  const std::vector<int64_t> lengths = data.lengths(indices);
  BOOST_CHECK_EQUAL(batch.batch_size, 3);
  BOOST_CHECK_EQUAL(batch.total_tokens, lengths[0] + lengths[1] + lengths[2]);
  BOOST_CHECK((batch.cls_example_ids.to_vector<int64_t>() == indices));
  std::vector<int32_t> expected;
  for (const int64_t i : indices) expected.push_back(classes.examples[static_cast<size_t>(i)].label);
  BOOST_CHECK(data.labels(indices, DType::float32).to_vector<int32_t>() == expected);

  const Dataset scores = load_task_data({.task_name = "stsb", .glue_dir = workspace.glue}).train;
  const TokenizedDataset regression(scores, tokenizer, 32);
  BOOST_CHECK(regression.regression());
  const std::vector<double> targets = regression.labels(indices, DType::float64).to_vector<double>();
  for (size_t i = 0; i < indices.size(); ++i) {
    BOOST_CHECK_EQUAL(targets[i], scores.examples[static_cast<size_t>(indices[i])].target);
  }
  BOOST_CHECK(regression.labels(indices, DType::float32).dtype() == DType::float32);
  BOOST_CHECK_THROW(data.example(26), std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
