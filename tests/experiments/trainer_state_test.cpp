#include "experiments/trainer_state.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;
using fixtures::content_of;
using fixtures::TemporaryFolder;

BOOST_AUTO_TEST_SUITE(trainer_state)

BOOST_AUTO_TEST_CASE(file_that_transformers_reads) {
  const TemporaryFolder folder;
  TrainerState state{.epoch = 0.5,
                     .global_step = 20,
                     .max_steps = 120,
                     .num_train_epochs = 3.0,
                     .best_metric = 0.75,
                     .best_model_checkpoint = "out/checkpoint-20"};
  state.log_history.push_back({{"step", 10}, {"epoch", 0.25}, {"loss", std::nan("")}});
  write_trainer_state(state, folder / "trainer_state.json");
  BOOST_TEST(content_of(folder / "trainer_state.json") == R"({
  "best_metric": 0.75,
  "best_model_checkpoint": "out/checkpoint-20",
  "epoch": 0.5,
  "global_step": 20,
  "is_hyper_param_search": false,
  "is_local_process_zero": true,
  "is_world_process_zero": true,
  "log_history": [
    {
      "epoch": 0.25,
      "loss": null,
      "step": 10
    }
  ],
  "max_steps": 120,
  "num_train_epochs": 3.0,
  "total_flos": 0.0,
  "trial_name": null,
  "trial_params": null
}
)");
}

BOOST_AUTO_TEST_CASE(read_back) {
  const TemporaryFolder folder;
  TrainerState state{
      .epoch = 1.0 / 3.0, .global_step = 7, .max_steps = -1, .num_train_epochs = 2.5, .total_flos = 1e15};
  state.log_history.push_back({{"step", 7}});
  write_trainer_state(state, folder / "s.json");
  const TrainerState read = read_trainer_state(folder / "s.json");
  BOOST_TEST(read.epoch == state.epoch);
  BOOST_TEST(read.global_step == 7);
  BOOST_TEST(read.max_steps == -1);
  BOOST_TEST(read.num_train_epochs == 2.5);
  BOOST_TEST(read.total_flos == 1e15);
  BOOST_TEST(!read.best_metric.has_value());
  BOOST_TEST(!read.best_model_checkpoint.has_value());
  BOOST_TEST((read.log_history == state.log_history));
}

BOOST_AUTO_TEST_CASE(malformed_states) {
  const TemporaryFolder folder;
  write_trainer_state({}, folder / "s.json");
  const nlohmann::json good = nlohmann::json::parse(content_of(folder / "s.json"));
  const auto refused = [&](const nlohmann::json& state, const std::vector<std::string>& message) {
    const auto file = folder.write("bad.json", state.dump());
    check_error_parts(ErrorKind::model, message, [&] { read_trainer_state(file); });
  };
  for (const char* key : {"epoch", "global_step", "max_steps", "num_train_epochs", "total_flos",
                          "best_metric", "best_model_checkpoint", "log_history"}) {
    nlohmann::json bad = good;
    bad.erase(key);
    refused(bad, {"bad.json", fmt::format("\"{}\"", key), "found none"});
    bad[key] = {{"x", 1}};
    refused(bad, {"bad.json", fmt::format("\"{}\"", key), "found {\"x\":1}"});
  }
  refused(nlohmann::json::array(), {"bad.json", "expected a JSON object"});
}

BOOST_AUTO_TEST_CASE(results) {
  const TemporaryFolder folder;
  write_results(folder.path(), "eval", {{"eval_loss", 0.5}, {"eval_accuracy", 0.25}, {"epoch", 3.0}});
  BOOST_TEST(content_of(folder / "eval_results.json") ==
             "{\n  \"epoch\": 3.0,\n  \"eval_accuracy\": 0.25,\n  \"eval_loss\": 0.5\n}\n");
  BOOST_CHECK_THROW(write_results(folder.path(), "eval", nlohmann::json::array()), std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
