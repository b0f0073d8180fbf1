#include <boost/test/unit_test.hpp>
#include <csignal>

#include "tests/tools/support.h"

using namespace normtune::test;
namespace fs = std::filesystem;

namespace {

struct PretrainFixture {
  TemporaryFolder folder;
  std::string train = (folder / "train.txt").string(), valid = (folder / "valid.txt").string(),
              output = (folder / "output").string();

  PretrainFixture() {
    std::string text;
    for (int i = 0; i < 30; ++i) {
      text += i % 2 == 0 ? "The old dog sleeps. A cat sees the dog.\nThe cat walks on.\n\n"
                         : "Rain falls on the roof. The wind is cold.\nNo bird sings.\n\n";
    }
    write_text(train, text);
    write_text(valid, text.substr(0, 400));
  }

  std::vector<std::string> command(const std::vector<std::string>& options = {}) const {
    std::vector<std::string> arguments = {"pretrain", "--train-files",
                                          train,      "--validation_files",
                                          valid,      "--output_dir",
                                          output,     "--vocab_size",
                                          "120",      "--num_hidden_layers",
                                          "1",        "--hidden_size",
                                          "8",        "--num_attention_heads",
                                          "2",        "--intermediate_size",
                                          "16",       "--max_seq_length",
                                          "16",       "--max_steps",
                                          "6",        "--per_device_train_batch_size",
                                          "4",        "--eval_steps",
                                          "3"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return arguments;
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(pretrain, PretrainFixture)

BOOST_AUTO_TEST_CASE(json_is_the_content_of_all_results) {
  const Outcome outcome = run_normtune(command({"--json"}));
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  const nlohmann::json results = outcome.json();
  BOOST_TEST(results == nlohmann::json::parse(read_text(output + "/all_results.json")));
  for (const char* key :
       {"eval_loss", "eval_mlm_loss", "eval_mlm_accuracy", "eval_nsp_loss", "eval_nsp_accuracy", "train_loss",
        "train_tokens_per_second", "ms_per_step", "total_parameters"}) {
    BOOST_TEST(results.contains(key), key);
  }
}

BOOST_AUTO_TEST_CASE(people_see_the_held_out_loss_and_the_cost) {
  const Outcome outcome = run_normtune(command());
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  for (const char* part : {"the model is in ", "eval_mlm_loss", "eval_nsp_accuracy", "peak memory"}) {
    BOOST_TEST(contains(outcome.out, part), part);
  }
  for (const char* part :
       {"pieces learned from", "text: 30 documents", "step 3: eval_loss", "Training: 6/6"}) {
    BOOST_TEST(contains(outcome.err, part), part);
  }
}

BOOST_AUTO_TEST_CASE(finetune_reads_the_folder) {
  BOOST_TEST(run_normtune(command({"--max_seq_length", "64"})).exit_code == 0);
  write_tiny_glue(folder / "glue");
  const Outcome outcome = run_normtune({"finetune", "--model_name_or_path", output, "--task_name", "rte",
                                        "--glue_dir", (folder / "glue").string(), "--output_dir",
                                        (folder / "tuned").string(), "--num_train_epochs", "1"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(contains(outcome.err, "cls."), outcome.err);  // the load report names what it dropped
  const Outcome scores = run_normtune({"evaluate", (folder / "tuned").string(), "--task_name", "rte",
                                       "--glue_dir", (folder / "glue").string()});
  BOOST_TEST(scores.exit_code == 0, scores.err);
}

BOOST_AUTO_TEST_CASE(a_killed_run_resumes_to_the_same_model) {
  BOOST_TEST(run_normtune(command()).exit_code == 0);
  const std::string expected = read_text(output + "/model.safetensors");
  output = (folder / "killed").string();
  Call call{.arguments = command({"--save_steps", "2"})};
  call.signal_after_file = SIGKILL;
  call.awaited_file = fs::path(output) / "checkpoint-2" / "training_state.json";
  run_normtune(call);  // killed at some moment behind step 2, or finished before the signal came
  const Outcome resumed = run_normtune(command({"--save_steps", "2", "--resume_from_checkpoint"}));
  BOOST_TEST(resumed.exit_code == 0, resumed.err);
  BOOST_CHECK(read_text(output + "/model.safetensors") == expected);
}

BOOST_AUTO_TEST_CASE(a_model_to_continue_from_has_its_own_shape) {
  BOOST_TEST(run_normtune(command()).exit_code == 0);
  const Outcome outcome = run_normtune({"pretrain", "--model_name_or_path", output, "--train_files", train,
                                        "--output_dir", (folder / "more").string(), "--hidden_size", "16"});
  BOOST_TEST(outcome.exit_code == 2);
  BOOST_TEST(contains(outcome.last_error_line(), "--hidden_size: "), outcome.err);
  BOOST_TEST(contains(outcome.last_error_line(), "has its own"), outcome.err);
}

BOOST_AUTO_TEST_CASE(a_missing_held_out_text_is_found_before_the_vocabulary_is_learned) {
  const Outcome outcome = run_normtune(command({"--validation_files", (folder / "nowhere.txt").string()}));
  BOOST_TEST(outcome.exit_code == 4);
  BOOST_TEST(!contains(outcome.err, "learning the vocabulary"), outcome.err);
}

BOOST_AUTO_TEST_CASE(mistakes_have_their_exit_codes) {
  const auto check_refused = [&](std::vector<std::string> arguments, int exit_code, std::string_view part) {
    const Outcome outcome = run_normtune(std::move(arguments));
    BOOST_TEST(outcome.exit_code == exit_code, outcome.err);
    BOOST_TEST(contains(outcome.last_error_line(), part), outcome.err);
  };
  check_refused({"pretrain", "--train_files", train}, 2, "--output_dir");
  check_refused({"pretrain", "--output_dir", output}, 2, "--train_files");
  check_refused(command({"--time_limit", "1"}), 2, "--max_steps");
  check_refused(command({"--vocab_sise", "9"}), 2, "--vocab_size");
  check_refused(command({"--vocab_size", "30"}), 2, "--vocab_size: expected at least");
  write_text(train, "");
  check_refused(command(), 4, "train.txt: expected text");
  write_text(train, "one\n\xC3(\n");
  check_refused(command(), 4, "train.txt, line 2: expected UTF-8");
}

BOOST_AUTO_TEST_SUITE_END()
