#include "experiments/run_store.h"

#include <boost/test/unit_test.hpp>

#include "experiments/run_lock.h"
#include "tests/experiments/comparison_fixture.h"

namespace normtune {

using fixtures::check_error_parts;
using fixtures::content_of;
using fixtures::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

/// The folder of one run, with what finetune and evaluate leave in it.
struct FinishedFinetune {
  TemporaryFolder folder;
  ComparedRun run;

  FinishedFinetune() {
    ComparisonOptions options = comparison::options(folder.path());
    options.finetune.task.glue_dir = "/home/somebody/glue";
    options.report_split = "test_labelled";
    run = plan_runs(options, comparison::inputs()).front();
    write("all_results.json",
          R"({"eval_matthews_correlation": 0.5, "eval_runtime": 3, "train_runtime": 7, "degenerate": false,)"
          R"( "trainable_parameters": 5, "total_parameters": 9})");
    write("evaluation.json", R"({"eval_matthews_correlation": 0.25, "peak_rss_bytes": 1})");
    write("metrics.jsonl",
          "{\"v\":1,\"kind\":\"start\",\"config\":{\"glue_dir\":\"/home/somebody/glue\"},\"seed\":1}\n"
          "{\"v\":1,\"kind\":\"step\",\"loss\":2}\n");
    for (const char* name :
         {"model.safetensors", "config.json", "best/model.safetensors", "predictions.jsonl",
          "checkpoint-7/model.safetensors", "events.out.tfevents.1.host.2.0", ".lock", "trainer_state.json",
          "log.txt", "failure.json"}) {
      write(name, "{}");
    }
  }
  void write(const std::string& name, std::string_view content) const {
    folder.write("runs/" + run.id + "/" + name, content);
  }
  void finish(bool keep_model) const {
    RunFolder(run).finish({"finetune", "--glue_dir=/home/somebody/glue", "--method=full"}, "normtune 1",
                          "test_labelled", keep_model);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(run.options.output_dir)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(run_store, FinishedFinetune)

BOOST_AUTO_TEST_CASE(a_finished_run_keeps_small_text) {
  BOOST_CHECK(RunFolder(run).state() == RunState::failed);
  finish(false);
  const std::vector<std::string> expected = {"all_results.json", "metrics.jsonl", "predictions.jsonl",
                                             "run.json"};
  const std::vector<std::string> found = names();
  BOOST_CHECK_EQUAL_COLLECTIONS(found.begin(), found.end(), expected.begin(), expected.end());
  BOOST_CHECK(RunFolder(run).state() == RunState::finished);
  BOOST_CHECK_EQUAL(content_of(run.options.output_dir / "metrics.jsonl"),
                    "{\"v\":1,\"kind\":\"start\",\"seed\":1}\n{\"v\":1,\"kind\":\"step\",\"loss\":2}\n");
}

BOOST_AUTO_TEST_CASE(the_result_says_what_was_run_and_not_where) {
  finish(false);
  const fs::path file = run.options.output_dir / "run.json";
  const nlohmann::json document = read_json_file(file, ErrorKind::data);
  BOOST_CHECK_EQUAL(content_of(file).find("somebody"), std::string::npos);
  BOOST_CHECK(document.at("command") == nlohmann::json({"finetune", "--glue_dir=glue", "--method=full"}));
  BOOST_CHECK_EQUAL(document.at("id"), run.id);
  BOOST_CHECK(document.at("identity") == run.identity);
  BOOST_CHECK_EQUAL(document.at("options").at("weight_decay"), 0.0);
  const RunResult result = RunFolder(run).result().value();
  BOOST_CHECK_EQUAL(result.trainable_parameters, 5);
  BOOST_CHECK_EQUAL(result.total_parameters, 9);
  BOOST_CHECK(result.score("dev", "matthews_correlation") == .5);
  BOOST_CHECK(result.score("test_labelled", "matthews_correlation") == .25);
  check_error_parts(ErrorKind::data, {"eval_f1", "dev"},
                    [&] { static_cast<void>(result.score("dev", "f1")); });
}

BOOST_AUTO_TEST_CASE(models_stay_if_they_are_wanted) {
  finish(true);
  BOOST_CHECK(fs::exists(run.options.output_dir / "model.safetensors"));
  BOOST_CHECK(fs::exists(run.options.output_dir / "checkpoint-7/model.safetensors"));
  BOOST_CHECK(!fs::exists(run.options.output_dir / "log.txt"));
  BOOST_CHECK(!RunFolder(run).needs_cleaning());
}

BOOST_AUTO_TEST_CASE(what_a_kill_left_behind_a_result) {
  finish(false);
  BOOST_CHECK(!RunFolder(run).needs_cleaning());
  write("model.safetensors", "x");
  BOOST_CHECK(RunFolder(run).needs_cleaning());
  RunFolder(run).clean();
  BOOST_CHECK_EQUAL(names().size(), 4u);
}

BOOST_AUTO_TEST_CASE(undefined_scores_and_the_mean_of_two) {
  const RunResult result{
      .evaluations = {
          {"dev", {{"eval_spearmanr", nullptr}, {"eval_accuracy", .5}, {"eval_accuracy_mm", .75}}},
          {"half", {{"eval_accuracy", .5}}}}};
  BOOST_CHECK(!result.score("dev", "spearmanr"));
  BOOST_CHECK(result.score("dev", "mean_accuracy") == .625);
  BOOST_CHECK(result.score("half", "mean_accuracy") == .5);
}

BOOST_AUTO_TEST_CASE(a_damaged_result_is_named) {
  write("run.json", "{\"id\": ");
  check_error_parts(ErrorKind::data, {"run.json"}, [&] { RunFolder(run).result(); });
  write("run.json", "{\"id\": \"" + run.id + "\"}");
  check_error_parts(ErrorKind::data, {"run.json", "remove the folder"}, [&] { RunFolder(run).result(); });
  write("run.json", "{\"id\": \"another\"}");
  check_error_parts(ErrorKind::data, {"run.json", run.id, "another"}, [&] { RunFolder(run).result(); });
}

BOOST_AUTO_TEST_CASE(one_process_at_a_time) {
  const fs::path path = folder / "runs/x";
  std::unique_ptr<RunLock> lock = RunLock::try_lock(path);
  BOOST_REQUIRE(lock);
  BOOST_CHECK(RunLock::is_locked(path));
  BOOST_CHECK(!RunLock::try_lock(path));
  lock.reset();
  BOOST_CHECK(!RunLock::is_locked(path));
  BOOST_CHECK(fs::is_empty(path));  // the lock leaves nothing behind
  BOOST_CHECK(RunLock::try_lock(path));
}

BOOST_AUTO_TEST_CASE(a_file_in_the_way_of_a_run) {
  folder.write("runs/file", "x");
  check_error_parts(ErrorKind::write, {"runs/file"}, [&] { RunLock::try_lock(folder / "runs/file"); });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
