#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <thread>

#include "nn/mask_file.h"
#include "tests/tools/compare_fixture.h"

using namespace normtune::test;
namespace fs = std::filesystem;

namespace {

std::vector<std::string> file_names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

int64_t count_lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

/// What --dry_run says of the runs.
nlohmann::json plan(const CompareFixture& fixture, std::vector<std::string> options = {}) {
  for (const char* option : {"--dry_run", "--json"}) options.push_back(option);
  return fixture.compare(options).json()["runs"];
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(compare, CompareFixture)

BOOST_AUTO_TEST_CASE(from_tasks_and_methods_to_a_table) {
  const Outcome outcome = compare();
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(count_run_lines(outcome.err) == 12, outcome.err);
  for (const char* part : {"method ", "full@untrained ", "average", "What the table shows",
                           "full is above head by more than two standard errors on ", "written: table.md"}) {
    BOOST_TEST(contains(outcome.out, part), outcome.out);
  }
  const std::string csv = read_text(output + "/table.csv");
  BOOST_TEST(csv.starts_with("method,task,metric,split,learning_rate,mean,sd,n,failed,trainable_parameters,"
                             "total_parameters\nfull,rte,accuracy,test_labelled,0.01,"),
             csv);
  BOOST_TEST(contains(csv, "\nhead,cola,matthews_correlation,test_labelled,0.01,"), csv);
  BOOST_TEST(count_lines(csv) == 1 + 3 * 3);
  BOOST_TEST(count_lines(read_text(output + "/comparisons.csv")) == 1 + 2 * 3);
  BOOST_TEST(file_names(output) == (std::vector<std::string>{"comparisons.csv", "inputs.json", "runs",
                                                             "table.csv", "table.md", "table.tex"}),
             boost::test_tools::per_element());
  for (const fs::directory_entry& run : fs::directory_iterator(fs::path(output) / "runs")) {
    BOOST_TEST(file_names(run) == (std::vector<std::string>{"all_results.json", "metrics.jsonl",
                                                            "predictions.jsonl", "run.json"}),
               boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(finished_runs_are_never_repeated) {
  BOOST_REQUIRE(compare().exit_code == 0);
  const std::string before = tables(output);
  const auto check_nothing_runs = [&](const Outcome& outcome, const std::string& from) {
    BOOST_TEST(outcome.exit_code == 0, outcome.err);
    BOOST_TEST(contains(outcome.err, "12 of 12 runs are finished"), outcome.err);
    BOOST_TEST(count_run_lines(outcome.err) == 0, outcome.err);
    BOOST_TEST(tables(from) == before);
  };
  check_nothing_runs(compare(), output);
  check_nothing_runs(compare({"--jobs", "3", "--logging_steps", "3"}), output);
  // The small files alone, elsewhere, from files that lie elsewhere.
  const std::string copy = (folder / "copy").string();
  fs::copy(output, copy, fs::copy_options::recursive);
  fs::rename(folder / "glue", folder / "moved");
  check_nothing_runs(compare({"--glue_dir", (folder / "moved").string()}, copy), copy);
  // Neither model nor data: what they were is recorded.
  fs::remove_all(model);
  fs::remove_all(folder / "moved");
  check_nothing_runs(compare({}, copy), copy);
  // But then nothing new can be run.
  const Outcome more = compare({"--seeds", "3"}, copy);
  BOOST_TEST(more.exit_code == 3);
  BOOST_TEST(contains(more.last_error_line(), "rte full seed 3"), more.err);
}

BOOST_AUTO_TEST_CASE(how_many_at_a_time_changes_no_byte) {
  BOOST_REQUIRE(compare({"--jobs", "1"}).exit_code == 0);
  const std::string other = (folder / "other").string();
  const Outcome parallel = compare({"--jobs", "4", "--num_threads", "2"}, other);
  BOOST_REQUIRE_MESSAGE(parallel.exit_code == 0, parallel.err);
  BOOST_TEST(tables(output) == tables(other));
  for (const std::string& id : file_names(fs::path(output) / "runs")) {
    BOOST_TEST(read_text(fs::path(output) / "runs" / id / "predictions.jsonl") ==
               read_text(fs::path(other) / "runs" / id / "predictions.jsonl"));
  }
}

BOOST_AUTO_TEST_CASE(a_failing_run_does_not_stop_the_others) {
  const std::vector<std::string> options = {"--tasks",         "rte", "--methods",        "full,head",
                                            "--max_grad_norm", "0",   "--learning_rates", "full=1e30,1e-2"};
  const Outcome outcome = compare(options);
  BOOST_TEST(outcome.exit_code == 5, outcome.err);
  BOOST_TEST(contains(outcome.err, "failed (exit code 5): step "), outcome.err);
  BOOST_TEST(count_run_lines(outcome.err) == 6);
  const std::string csv = read_text(output + "/table.csv");
  BOOST_TEST(contains(csv, "full,rte,accuracy,test_labelled,0.01,"), csv);  // the other rate was chosen
  // The finished ones stay, the failed ones are tried again.
  const Outcome again = compare(options);
  BOOST_TEST(again.exit_code == 5);
  BOOST_TEST(count_run_lines(again.err) == 2, again.err);
  BOOST_TEST(read_text(output + "/table.csv") == csv);
  for (const nlohmann::json& run : plan(*this, options)) {
    BOOST_TEST(run["state"] == (run["learning_rate"] == 1e30 ? "failed" : "finished"));
  }
}

BOOST_AUTO_TEST_CASE(failures_are_counted_in_the_table) {
  const Outcome outcome = compare(
      {"--tasks", "rte", "--methods", "full", "--max_grad_norm", "0", "--learning_rates", "full=1e30"});
  BOOST_TEST(outcome.exit_code == 5);
  BOOST_TEST(contains(read_text(output + "/table.csv"), "full,rte,accuracy,test_labelled,1e+30,,,0,2,,\n"));
  for (const std::string& id : file_names(fs::path(output) / "runs")) {
    const auto failure = nlohmann::json::parse(read_text(fs::path(output) / "runs" / id / "failure.json"));
    BOOST_TEST(failure["exit_code"] == 5);
    BOOST_TEST(contains(failure["error"].get<std::string>(), "step "));
  }
}

BOOST_AUTO_TEST_CASE(a_run_without_memory) {
  const Outcome outcome = run_normtune(Call{.arguments = command({"--tasks", "rte", "--methods", "head"}),
                                            .environment = {{"NORMTUNE_CPU_MEMORY_LIMIT", "10000"}}});
  BOOST_TEST(outcome.exit_code == 6);
  BOOST_TEST(contains(outcome.err, "out of memory"), outcome.err);
}

BOOST_AUTO_TEST_CASE(shards_make_the_whole) {
  BOOST_REQUIRE(compare().exit_code == 0);
  const std::string first = (folder / "first").string(), second = (folder / "second").string();
  const Outcome half = compare({"--shard", "1/2"}, first);
  BOOST_TEST(half.exit_code == 0, half.err);
  BOOST_TEST(count_run_lines(half.err) == 6);
  BOOST_TEST(contains(half.out, "6 of 12 runs are left to other shards"), half.out);
  BOOST_TEST(!fs::exists(first + "/table.csv"));
  BOOST_TEST(count_run_lines(compare({"--shard=2/2"}, second).err) == 6);
  fs::copy(second + "/runs", first + "/runs", fs::copy_options::recursive);
  const Outcome whole = compare({}, first);
  BOOST_TEST(count_run_lines(whole.err) == 0, whole.err);
  BOOST_TEST(tables(first) == tables(output));
}

BOOST_AUTO_TEST_CASE(a_run_of_another_process_is_waited_for) {
  const std::string id = plan(*this)[0]["id"];
  const fs::path run = fs::path(output) / "runs" / id;
  fs::create_directories(run);
  const std::string lock_file = (run / ".compare.lock").string();
  const int lock = open(lock_file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  BOOST_REQUIRE(flock(lock, LOCK_EX) == 0);
  BOOST_TEST(plan(*this)[0]["state"] == "running");
  Outcome outcome;
  std::thread process([&] { outcome = compare(); });
  const auto num_finished = [&] {
    const nlohmann::json runs = plan(*this);
    return std::count_if(runs.begin(), runs.end(),
                         [](const auto& entry) { return entry["state"] == "finished"; });
  };
  while (num_finished() < 11) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  BOOST_TEST(!fs::exists(run / "run.json"));
  close(lock);
  process.join();
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(fs::exists(run / "run.json"));
}

BOOST_AUTO_TEST_CASE(two_processes_share_the_work) {
  Outcome first, second;
  std::thread process([&] { first = compare({"--jobs", "1"}); });
  second = compare({"--jobs", "1"});
  process.join();
  BOOST_TEST(first.exit_code == 0, first.err);
  BOOST_TEST(second.exit_code == 0, second.err);
  BOOST_TEST(count_run_lines(first.err) + count_run_lines(second.err) == 12, first.err + second.err);
}

BOOST_AUTO_TEST_CASE(a_dry_run_lists_and_writes_nothing) {
  const Outcome outcome = compare({"--dry_run"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(count_lines(outcome.out) == 1 + 12 + 1, outcome.out);
  BOOST_TEST(contains(outcome.out, "missing"));
  BOOST_TEST(!fs::exists(output));
  const nlohmann::json runs = plan(*this);
  BOOST_REQUIRE(runs.size() == 12u);
  BOOST_TEST(runs[0]["estimated_seconds"].is_null());
  BOOST_REQUIRE(compare({"--seeds", "1"}).exit_code == 0);
  for (const nlohmann::json& run : plan(*this)) {
    BOOST_TEST(run["state"] == (run["seed"] == 1 ? "finished" : "missing"));
    BOOST_TEST(run["estimated_seconds"].is_number() == (run["seed"] == 2));
  }
}

BOOST_AUTO_TEST_CASE(an_interrupt_leaves_checkpoints_that_are_continued) {
  const std::vector<std::string> options = {"--tasks",         "rte",   "--methods",    "full",
                                            "--seeds",         "1",     "--max_steps",  "800",
                                            "--save_strategy", "steps", "--save_steps", "50"};
  const std::string id = plan(*this, options)[0]["id"];
  const fs::path run = fs::path(output) / "runs" / id;
  for (const int signal : {SIGINT, SIGTERM}) {
    const Outcome outcome =
        run_normtune(Call{.arguments = command(options),
                          .signal_after_file = signal,
                          .awaited_file = run / (signal == SIGINT ? "checkpoint-50" : "checkpoint-400")});
    BOOST_TEST(outcome.exit_code == 128 + signal, outcome.err);
    BOOST_TEST(contains(outcome.last_error_line(), "repeat the command to continue"), outcome.err);
    BOOST_TEST(!fs::exists(run / "run.json"));
    BOOST_TEST(plan(*this, options)[0]["state"] == "interrupted");
  }
  BOOST_TEST(compare(options).exit_code == 0);
  BOOST_TEST(contains(read_text(run / "metrics.jsonl"), "\"kind\":\"resume\""));
  const std::string other = (folder / "other").string();
  BOOST_TEST(compare(options, other).exit_code == 0);
  BOOST_TEST(tables(output) == tables(other));
}

BOOST_AUTO_TEST_CASE(a_damaged_checkpoint_costs_time_and_not_the_run) {
  const std::vector<std::string> options = {"--tasks", "rte", "--methods", "full", "--seeds", "1"};
  const std::string id = plan(*this, options)[0]["id"];
  write_text(fs::path(output) / "runs" / id / "checkpoint-2/training_state.json", "{\"run\": \"other\"");
  const Outcome outcome = compare(options);
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(fs::exists(fs::path(output) / "runs" / id / "run.json"));
}

BOOST_AUTO_TEST_CASE(models_are_kept_on_demand) {
  const std::vector<std::string> options = {"--tasks", "rte", "--methods",    "full",
                                            "--seeds", "1",   "--keep_models"};
  BOOST_REQUIRE(compare(options).exit_code == 0);
  const std::string run = output + "/runs/" + plan(*this, options)[0]["id"].get<std::string>();
  BOOST_TEST(compare({"--tasks", "rte", "--methods", "full", "--seeds", "1"}).exit_code == 0);
  const Outcome evaluated =
      run_normtune({"evaluate", run, "--task_name", "rte", "--glue_dir", glue, "--json"});
  BOOST_REQUIRE_MESSAGE(evaluated.exit_code == 0, evaluated.err);
  const auto recorded = nlohmann::json::parse(read_text(run + "/run.json"));
  BOOST_TEST(evaluated.json()["eval_accuracy"] == recorded["evaluations"]["dev"]["eval_accuracy"]);
}

BOOST_AUTO_TEST_CASE(costs_are_measured_once) {
  const std::vector<std::string> options = {"--tasks", "rte", "--methods", "full,head,full@untrained",
                                            "--seeds", "1",   "--costs",   "true"};
  const Outcome outcome = compare(options);
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(contains(outcome.out, "ms per step"), outcome.out);
  const std::string csv = read_text(output + "/costs.csv");
  BOOST_TEST(csv.starts_with("method,ms_per_step,peak_rss_bytes,peak_device_bytes,threads,cpu,date\nfull,"),
             csv);
  BOOST_TEST(count_lines(csv) == 3);
  BOOST_TEST(file_names(output + "/costs").size() == 2u);
  const Outcome again = compare(options);
  BOOST_TEST(!contains(again.err, "measuring"), again.err);
  BOOST_TEST(read_text(output + "/costs.csv") == csv);
}

BOOST_AUTO_TEST_CASE(json_is_one_document) {
  const Outcome outcome = compare({"--json", "--tasks", "rte", "--seeds", "1"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  const nlohmann::json document = outcome.json();
  BOOST_TEST(document["table"].size() == 3u);
  BOOST_TEST(document["table"][0]["method"] == "full");
  BOOST_TEST(document["table"][0]["n"] == 1);
  BOOST_TEST(document["comparisons"][0]["verdict"] == "unknown");
}

BOOST_AUTO_TEST_CASE(options_from_a_file) {
  write_text(folder / "compare.toml",
             "tasks = [\"rte\"]\nmethods = [\"full\", \"head\"]\nseeds = [4, 5]\n"
             "learning_rates = [\"full=1e-2,2e-2\", \"head=1e-1\"]\nnum_train_epochs = 1\ncosts = false\n");
  const Outcome outcome =
      run_normtune({"compare", model, "--glue_dir", glue, "--output_dir", output, "--config",
                    (folder / "compare.toml").string(), "--dry_run", "--json"});
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.json()["runs"].size() == 6u);
}

BOOST_AUTO_TEST_CASE(own_files_are_a_task) {
  write_text(folder / "train.csv",
             "sentence1,label\nthe cat runs,a\nthe dog sleeps,b\na cat sleeps,a\na dog,b\n");
  const std::string rows = (folder / "train.csv").string();
  const Outcome outcome =
      run_normtune({"compare", model, "--train_file", rows, "--validation_file", rows, "--methods", "head",
                    "--output_dir", output, "--costs", "false", "--num_train_epochs", "1"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(contains(read_text(output + "/table.csv"), "head,own,accuracy,dev,5e-05,"));
}

BOOST_AUTO_TEST_CASE(baselines_stand_apart) {
  write_text(folder / "bag.csv",
             "method,task,score,source\nbag of words,rte,0.625,logistic regression on counts\n");
  const Outcome outcome = compare(
      {"--tasks", "rte", "--methods", "head", "--seeds", "1", "--baselines", (folder / "bag.csv").string()});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(contains(read_text(output + "/table.md"), "| bag of words | 62.50 |"));
  BOOST_TEST(contains(read_text(output + "/table.md"), "- bag of words: logistic regression on counts"));
  BOOST_TEST(!contains(read_text(output + "/table.csv"), "bag"));
}

BOOST_AUTO_TEST_CASE(mistakes_have_their_exit_codes) {
  const auto fails_with = [&](int code, const std::vector<std::string>& options, std::string_view message) {
    const Outcome outcome = compare(options);
    BOOST_TEST(outcome.exit_code == code, outcome.err);
    BOOST_TEST(outcome.last_error_line().starts_with("normtune: error: "), outcome.err);
    BOOST_TEST(contains(outcome.last_error_line(), message), outcome.err);
    BOOST_TEST(!fs::exists(fs::path(output) / "runs"));
  };
  fails_with(2, {"--methods", "full,layernrom"}, "layernorm");
  fails_with(2, {"--tasks", "rtf"}, "rte");
  fails_with(2, {"--seeds", "1,x"}, "--seeds: expected integers");
  fails_with(2, {"--learning_rates", "full=fast"}, "--learning_rates: expected METHOD=RATE");
  fails_with(2, {"--learning_rates", "1e-3"}, "--learning_rates: expected METHOD=RATE");
  fails_with(2, {"--learning_rates", "lorra=1e-3"}, "lora");
  fails_with(2, {"--shard", "2"}, "--shard: expected I/N");
  fails_with(2, {"--shard", "3/2"}, "--shard");
  fails_with(2, {"--jobs", "0"}, "--jobs");
  fails_with(2, {"--report_split", "test"}, "test_labelled");
  fails_with(2, {"--metric_for_best_model", "f2"}, "f2");
  fails_with(2, {"--overwrite_output_dir"}, "--overwrite_output_dir");
  fails_with(2, {"--per_device_train_batch_size", "0"}, "--per_device_train_batch_size");
  fails_with(2, {"--method_s", "full"}, "--methods");
  fails_with(2, {"--methods", "foo"}, "--methods: unknown row 'foo'");
  fails_with(2, {"--methods", "full@untraned"}, "full@untrained");
  fails_with(2, {"--learning_rates", "layernrm=1e-3"}, "--learning_rates: unknown row 'layernrm'");
  fails_with(2, {"--train_params", "bert.pooler.*"}, "--train_params");
  fails_with(2, {"--method", "lora"}, "--methods lora");
  fails_with(2, {"--task_name", "cola"}, "--tasks cola");
}

BOOST_AUTO_TEST_CASE(the_help_names_what_is_taken) {
  for (const char* command : {"compare", "reproduce"}) {
    const Outcome help = run_normtune({command, "--help"});
    BOOST_TEST(help.exit_code == 0);
    for (const char* taken : {"--methods ", "--tasks ", "--train_params "}) {
      BOOST_TEST(contains(help.out, taken), taken);
    }
    for (const char* refused : {"--method ", "--task_name "})
      BOOST_TEST(!contains(help.out, refused), refused);
  }
}

/// What every run of the row would stumble over is found before the first one, in a dry run too.
BOOST_AUTO_TEST_CASE(a_mask_is_checked_before_the_runs) {
  const auto fails_with = [&](int code, std::vector<std::string> options, std::string_view message) {
    for (const bool dry_run : {false, true}) {
      if (dry_run) options.emplace_back("--dry_run");
      const Outcome outcome = compare(options);
      BOOST_TEST(outcome.exit_code == code, outcome.err);
      BOOST_TEST(contains(outcome.last_error_line(), message), outcome.err);
      BOOST_TEST(!fs::exists(output));
    }
  };
  const std::string mask = (folder / "mask.safetensors").string();
  fails_with(2, {"--methods", "full,mask"}, "--mask FILE");
  fails_with(3, {"--methods", "mask", "--mask", mask}, "mask.safetensors");
  normtune::write_mask(mask, {.origin = {}, .tensors = {{"bert.nothing.weight", {0}}}});
  fails_with(3, {"--methods", "mask", "--mask", mask}, "no tensor 'bert.nothing.weight'");
  normtune::write_mask(mask, {.origin = {}, .tensors = {{"bert.pooler.dense.bias", {0, 99999}}}});
  fails_with(3, {"--methods", "head,mask@untrained", "--mask", mask}, "expected indices below");
  normtune::write_mask(mask, {.origin = {}, .tensors = {{"bert.pooler.dense.bias", {0, 1}}}});
  BOOST_TEST(compare({"--methods", "mask", "--mask", mask, "--dry_run"}).exit_code == 0);
  BOOST_TEST(compare({"--methods", "mask", "--mask", mask}).exit_code == 0);
}

BOOST_AUTO_TEST_CASE(a_damaged_result_says_what_to_do) {
  const std::vector<std::string> options = {"--tasks", "rte", "--methods", "head", "--seeds", "1"};
  const std::string id = plan(*this, options)[0]["id"];
  for (const char* text : {"{\"id\": \"", "[]", "{}", ""}) {
    write_text(fs::path(output) / "runs" / id / "run.json", text);
    const Outcome outcome = compare(options);
    BOOST_TEST(outcome.exit_code == 4, outcome.err);
    BOOST_TEST(contains(outcome.last_error_line(), "remove the folder to repeat the run"), outcome.err);
  }
}

BOOST_AUTO_TEST_CASE(missing_files_have_their_exit_codes) {
  fs::remove(folder / "glue/RTE/test_labelled.tsv");
  BOOST_TEST(compare().exit_code == 4);
  BOOST_TEST(contains(compare().last_error_line(), "test_labelled"));
  BOOST_TEST(compare({"--glue_dir", (folder / "nowhere").string()}).exit_code == 4);
  BOOST_TEST(compare({"--baselines", (folder / "nowhere.csv").string()}).exit_code == 4);
  fs::remove(folder / "model/model.safetensors");
  const Outcome no_weights = compare({"--report_split", "dev"});
  BOOST_TEST(no_weights.exit_code == 3);
  BOOST_TEST(contains(no_weights.last_error_line(), "METHOD@untrained"), no_weights.err);
  BOOST_TEST(
      compare({"--report_split", "dev", "--methods", "full@untrained", "--learning_rates", "full=1e-3"})
          .exit_code == 0);
  fs::remove_all(model);
  BOOST_TEST(compare({"--report_split", "dev"}, (folder / "new").string()).exit_code == 3);
  write_tiny_model(model);
  write_text(folder / "file", "x");
  BOOST_TEST(compare({"--report_split", "dev"}, (folder / "file").string()).exit_code == 7);
  BOOST_TEST(run_normtune({"compare"}).exit_code == 2);
}

BOOST_AUTO_TEST_SUITE_END()
