#include "experiments/evaluation.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/experiments/tiny_run.h"

namespace normtune {

using fixtures::check_error_parts;
using tiny::Workspace;

namespace {

Dataset two_classes(const std::vector<int32_t>& labels) {
  Dataset dataset{.task = "sst2", .split = "dev", .label_names = {"negative", "positive"}};
  for (const int32_t label : labels) dataset.examples.push_back({.sentence1 = "a cat", .label = label});
  return dataset;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(evaluation)

BOOST_AUTO_TEST_CASE(cross_entropy_is_the_mean_over_examples) {
  const std::vector<double> logits = {0, 0, 2, -1, 1000, -1000};
  const double expected = (std::log(2.0) + std::log(1 + std::exp(3.0)) + 2000) / 3;
  BOOST_CHECK_LE(std::abs(mean_loss(two_classes({0, 1, 1}), logits) - expected), 1e-12 * expected);
  BOOST_CHECK(std::isnan(mean_loss(two_classes({0, 1, -1}), logits)));
}

BOOST_AUTO_TEST_CASE(squared_error_of_a_regression) {
  Dataset dataset{.task = "stsb", .split = "dev", .regression = true};
  dataset.examples = {{.sentence1 = "a", .target = 1.5}, {.sentence1 = "b", .target = 4}};
  BOOST_CHECK_LE(std::abs(mean_loss(dataset, std::vector<double>{1, 6}) - 2.125), 1e-15);
}

BOOST_AUTO_TEST_CASE(the_batch_size_changes_rounding_at_most) {
  const Workspace workspace;
  for (const auto& [dtype, tolerance] : {std::pair{DType::float64, 1e-13}, std::pair{DType::float32, 5e-6}}) {
    Model model = load_model(workspace.model, {.dtype = dtype});
    const TaskData data = load_task_data({.task_name = "rte", .glue_dir = workspace.glue});
    const TokenizedDataset tokens(data.train, model.tokenizer, 32);
    const std::vector<double> alone = *compute_logits(model.bert, tokens, 1);
    BOOST_REQUIRE_EQUAL(alone.size(), 2 * 26);
    for (const int64_t batch_size : {2, 5, 26, 100}) {
      const std::vector<double> batched = *compute_logits(model.bert, tokens, batch_size);
      BOOST_REQUIRE_EQUAL(batched.size(), alone.size());
      for (size_t i = 0; i < alone.size(); ++i) BOOST_CHECK_LE(std::abs(batched[i] - alone[i]), tolerance);
    }
  }
}

BOOST_AUTO_TEST_CASE(can_be_stopped) {
  const Workspace workspace;
  const Model model = load_model(workspace.model, {});
  const TaskData data = load_task_data({.task_name = "sst2", .glue_dir = workspace.glue});
  const TokenizedDataset tokens(data.train, model.tokenizer, 32);
  std::vector<int64_t> reported;
  const auto stop_at_8 = [&](int64_t done) {
    reported.push_back(done);
    return done < 8;
  };
  BOOST_CHECK(!compute_logits(model.bert, tokens, 4, stop_at_8));
  BOOST_CHECK((reported == std::vector<int64_t>{0, 4, 8}));
}

BOOST_AUTO_TEST_CASE(results_have_the_promised_keys) {
  const Workspace workspace;
  const Model model = load_model(workspace.model, {});
  TaskData data = load_task_data({.task_name = "sst2", .glue_dir = workspace.glue});
  TokenizedDataset tokens(data.dev.front(), model.tokenizer, 32);
  std::vector<EvaluationSplit> splits;
  splits.push_back({std::move(data.dev.front()), std::move(tokens)});
  const std::optional<Evaluation> evaluation = evaluate(model.bert, data.task, splits, 4);
  const nlohmann::ordered_json results = evaluation_results(splits, *evaluation, 4);
  for (const char* key : {"eval_loss", "eval_accuracy", "eval_samples", "eval_runtime",
                          "eval_samples_per_second", "eval_steps_per_second"}) {
    BOOST_CHECK_MESSAGE(results.contains(key), key);
  }
  BOOST_CHECK_EQUAL(results.at("eval_samples").get<int64_t>(), 10);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
