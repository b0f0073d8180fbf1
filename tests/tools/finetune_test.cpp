#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <boost/test/unit_test.hpp>

#include <csignal>

#include "tests/tools/support.h"

using namespace normtune::test;
namespace fs = std::filesystem;

namespace {

struct FinetuneFixture {
  TemporaryFolder folder;
  std::string model = (folder / "model").string(), glue = (folder / "glue").string(),
              output = (folder / "output").string();

  FinetuneFixture() {
    write_tiny_model(model);
    write_tiny_glue(glue);
  }

  std::vector<std::string> command(const std::vector<std::string>& options) const {
    std::vector<std::string> arguments = {"finetune", "--model_name_or_path", model, "--task_name",
                                          "rte",      "--glue_dir",           glue,  "--output_dir",
                                          output,     "--max_seq_length",     "32",  "--num_train_epochs",
                                          "1"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return arguments;
  }
  Outcome finetune(const std::vector<std::string>& options = {}) const {
    return run_normtune(command(options));
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(finetune, FinetuneFixture)

BOOST_AUTO_TEST_CASE(json_is_the_content_of_all_results) {
  const Outcome outcome = finetune({"--json", "--method", "layernorm"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  const nlohmann::json results = outcome.json();
  BOOST_TEST(results == nlohmann::json::parse(read_text(output + "/all_results.json")));
  for (const char* key :
       {"eval_loss", "eval_accuracy", "eval_samples", "train_loss", "train_samples", "epoch", "ms_per_step",
        "peak_rss_bytes", "peak_device_bytes", "total_parameters", "trainable_parameters"}) {
    BOOST_TEST(results.contains(key), key);
  }
  BOOST_TEST(results["peak_device_bytes"].is_null());
  BOOST_TEST(results["trainable_parameters"] == 2 * 2 * 8 + 2 * 9);
  for (const char* file :
       {"config.json", "model.safetensors", "vocab.txt", "metrics.jsonl", "trainer_state.json",
        "train_results.json", "eval_results.json", "predictions.jsonl"}) {
    BOOST_TEST(fs::exists(fs::path(output) / file), file);
  }
}

BOOST_AUTO_TEST_CASE(results_for_people_name_scores_and_cost) {
  const Outcome outcome = finetune({"--method", "random", "--random_k", "7"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  for (const char* part :
       {"random on rte: the model is in ", "eval_accuracy", " %", "eval_loss", "time per step", "peak memory",
        "trainable parameters", "25 of ", "An element mask costs"}) {
    BOOST_TEST(contains(outcome.out, part), part);
  }
  BOOST_TEST(contains(outcome.err, "freshly initialised"));
}

BOOST_AUTO_TEST_CASE(quiet_says_nothing_on_standard_error) {
  write_text(fs::path(glue) / "row_counts.tsv", "file\trows\nRTE/train.tsv\t24\nRTE/dev.tsv\t9\n");
  const Outcome outcome = finetune({"--quiet"});
  BOOST_TEST(outcome.exit_code == 0);
  BOOST_TEST(outcome.err == "");
  BOOST_TEST(contains(outcome.out, "eval_accuracy"));
  // ... but what is doubtful
  fs::remove(fs::path(glue) / "row_counts.tsv");
  const Outcome doubtful = finetune({"--quiet", "--overwrite_output_dir"});
  BOOST_TEST(contains(doubtful.err, "normtune: warning: "));
  BOOST_TEST(contains(doubtful.err, "expected 2490 rows (rte train), found 24"));
}

BOOST_AUTO_TEST_CASE(a_configuration_file_gives_the_same_run) {
  BOOST_TEST(
      finetune({"--method", "bitfit", "--learning_rate", "2e-3", "--load_best_model_at_end"}).exit_code == 0);
  const std::string weights = read_text(output + "/model.safetensors");
  write_text(folder / "run.toml",
             "method = \"bitfit\"\nlearning-rate = 2e-3\nload_best_model_at_end = true\noverwrite_output_dir "
             "= true\n");
  BOOST_TEST(finetune({"--config", (folder / "run.toml").string()}).exit_code == 0);
  BOOST_TEST((read_text(output + "/model.safetensors") == weights));
}

BOOST_AUTO_TEST_CASE(an_output_folder_in_use_is_refused) {
  BOOST_TEST(finetune().exit_code == 0);
  const std::string weights = read_text(output + "/model.safetensors");
  const Outcome again = finetune({"--learning_rate", "1e-2"});
  BOOST_TEST(again.exit_code == 2);
  BOOST_TEST(contains(again.last_error_line(), "--overwrite_output_dir"));
  BOOST_TEST((read_text(output + "/model.safetensors") == weights));
  BOOST_TEST(finetune({"--learning_rate", "1e-2", "--overwrite_output_dir"}).exit_code == 0);
  BOOST_TEST((read_text(output + "/model.safetensors") != weights));
}

BOOST_AUTO_TEST_CASE(a_folder_that_another_process_writes_is_refused) {
  fs::create_directories(output);
  const int lock = open((output + "/.lock").c_str(), O_RDWR | O_CREAT, 0600);
  BOOST_REQUIRE(flock(lock, LOCK_EX) == 0);
  const Outcome outcome = finetune({"--overwrite_output_dir"});
  close(lock);
  BOOST_TEST(outcome.exit_code == 7);
  BOOST_TEST(contains(outcome.last_error_line(), "output"), outcome.err);
}

/// Merged LoRA, LoRA apart, adapters beside the model, checkpoints: commands read what finetune has written.
BOOST_AUTO_TEST_CASE(every_folder_it_writes_can_be_read) {
  for (const std::string method : {"lora", "houlsby", "pfeiffer", "layernorm"}) {
    fs::remove_all(output);
    const bool has_peft_format = method == "lora" || method == "layernorm";
    const Outcome outcome =
        finetune({"--json", "--method", method, "--save_unmerged", has_peft_format ? "true" : "false",
                  "--learning_rate", "1e-2", "--eval_strategy", "no"});
    BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    const double loss = outcome.json()["eval_loss"];
    std::vector<std::string> folders = {output, output + "/checkpoint-3"};
    if (has_peft_format) folders.push_back(output + "/peft");
    for (const std::string& written : folders) {
      const Outcome evaluated =
          run_normtune({"evaluate", written, "--task-name", "RTE", "--glue_dir", glue, "--json"});
      BOOST_REQUIRE_MESSAGE(evaluated.exit_code == 0, written + evaluated.err);
      BOOST_TEST(std::abs(evaluated.json()["eval_loss"].get<double>() - loss) < 1e-6, written);
      BOOST_TEST(run_normtune({"inspect", written}).exit_code == 0, written);
      BOOST_TEST(run_normtune({"tokenize", written}, "the cat").out ==
                 run_normtune({"tokenize", model}, "the cat").out);
    }
  }
}

BOOST_AUTO_TEST_CASE(inspect_counts_the_adapters_of_a_folder) {
  const Outcome outcome = finetune({"--json", "--method", "houlsby"});
  BOOST_TEST(run_normtune({"inspect", output, "--json"}).json()["total_parameters"] ==
             outcome.json()["total_parameters"]);
}

BOOST_AUTO_TEST_CASE(an_interrupt_writes_a_checkpoint_and_says_how_to_resume) {
  for (const int signal : {SIGINT, SIGTERM}) {
    fs::remove_all(output);
    const std::vector<std::string> options = {"--max_steps",  "800", "--save_strategy", "steps",
                                              "--save_steps", "50",  "--eval_strategy", "no"};
    const Outcome outcome = run_normtune(Call{.arguments = command(options),
                                              .signal_after_file = signal,
                                              .awaited_file = fs::path(output) / "checkpoint-50"});
    BOOST_TEST(outcome.exit_code == 128 + signal);
    BOOST_TEST(contains(outcome.last_error_line(), "normtune: error: interrupted by "), outcome.err);
    BOOST_TEST(contains(outcome.last_error_line(), "--resume_from_checkpoint"));
    BOOST_TEST(outcome.out == "");
    BOOST_TEST(!fs::exists(fs::path(output) / "model.safetensors"));
  }
  const std::vector<std::string> options = {"--max_steps",     "800",          "--save_strategy",
                                            "steps",           "--save_steps", "50",
                                            "--eval_strategy", "no",           "--resume_from_checkpoint"};
  const Outcome resumed = finetune(options);
  BOOST_TEST(resumed.exit_code == 0, resumed.err);
  BOOST_TEST(contains(resumed.err, "resuming from"));
  BOOST_TEST(fs::exists(fs::path(output) / "model.safetensors"));
}

BOOST_AUTO_TEST_CASE(mistakes_have_their_exit_codes) {
  const auto fails_with = [&](int code, const std::vector<std::string>& options, std::string_view message) {
    const Outcome outcome = finetune(options);
    BOOST_TEST(outcome.exit_code == code, outcome.err);
    BOOST_TEST(outcome.last_error_line().starts_with("normtune: error: "), outcome.err);
    BOOST_TEST(contains(outcome.last_error_line(), message), outcome.err);
    BOOST_TEST(outcome.out == "");
  };
  fails_with(2, {"--task_name", "rtf"}, "unknown task 'rtf': did you mean 'rte'?");
  fails_with(2, {"--method", "bitfid"}, "the nearest is bitfit");
  fails_with(2, {"--optim", "adam"}, "--optim: unknown value 'adam'");
  fails_with(2, {"--max_seq_length", "33"},
             "--max_seq_length: expected at most the model's 32 positions, found 33");
  fails_with(2, {"--per_device_train_batch_size", "0"},
             "--per_device_train_batch_size: expected an integer of at least 1");
  fails_with(2, {"--method", "mask"}, "--mask");
  fails_with(2, {"--device", "cuda:63"}, "device cuda:63: ");
  fails_with(3, {"--model_name_or_path", (folder / "nowhere").string()}, "nowhere");
  fails_with(3, {"--method", "mask", "--mask", (folder / "none.safetensors").string()}, "none.safetensors");
  fails_with(4, {"--task_name", "sst2"}, "SST-2");
  write_text(folder / "train.csv", "sentence1,label\nthe cat,maybe\n");
  fails_with(4, {"--train_file", (folder / "train.csv").string()}, "train.csv");
  fails_with(5, {"--learning_rate", "1e30", "--max_grad_norm", "0"}, "step");
  write_text(folder / "file", "");
  fails_with(7, {"--output_dir", (folder / "file").string()}, "file");
}

BOOST_AUTO_TEST_CASE(rows_of_one_text_and_of_two_do_not_mix) {
  write_text(folder / "one.csv", "sentence1,label\na b,0\nb a,1\n");
  write_text(folder / "two.csv", "sentence1,sentence2,label\na b,b,0\nb a,a,1\n");
  const Outcome outcome = run_normtune({"finetune", "--model_name_or_path", model, "--output_dir", output,
                                        "--train_file", (folder / "one.csv").string(), "--validation_file",
                                        (folder / "two.csv").string(), "--max_seq_length", "32"});
  BOOST_TEST(outcome.exit_code == 4);
  BOOST_TEST(contains(outcome.last_error_line(), "two.csv: expected one text per row, as in"), outcome.err);
}

BOOST_AUTO_TEST_CASE(options_of_another_method_are_named) {
  const Outcome outcome = finetune({"--method", "head", "--lora_r", "4", "--quiet", "--max_steps", "1"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(contains(outcome.err, "warning: --lora_r does nothing with --method head; it is of lora"),
             outcome.err);
  BOOST_TEST(!contains(
      finetune({"--method", "lora", "--lora_r", "4", "--max_steps", "1", "--overwrite_output_dir"}).err,
      "does nothing"));
}

BOOST_AUTO_TEST_CASE(a_checkpoint_that_is_not_there_is_refused_even_if_the_run_is_finished) {
  BOOST_TEST(finetune({"--max_steps", "1"}).exit_code == 0);
  BOOST_TEST(
      finetune({"--max_steps", "1", "--resume_from_checkpoint", output + "/checkpoint-99"}).exit_code == 3);
}

BOOST_AUTO_TEST_CASE(an_output_folder_that_is_a_file_is_named) {
  write_text(output, "");
  const Outcome outcome = finetune();
  BOOST_TEST(outcome.exit_code == 7);
  BOOST_TEST(contains(outcome.last_error_line(), "is a file; choose another --output_dir"), outcome.err);
}

BOOST_AUTO_TEST_CASE(missing_arguments_are_usage_errors) {
  BOOST_TEST(contains(run_normtune({"finetune"}).last_error_line(),
                      "--model_name_or_path: expected a model folder"));
  BOOST_TEST(contains(run_normtune({"finetune", model}).last_error_line(), "--output_dir is missing"));
  const Outcome no_task = run_normtune({"finetune", model, "--output_dir", output});
  BOOST_TEST(no_task.exit_code == 2);
  BOOST_TEST(contains(no_task.last_error_line(), "--task_name"), no_task.err);
}

BOOST_AUTO_TEST_CASE(out_of_memory_is_exit_code_6) {
  const Outcome outcome =
      run_normtune(Call{.arguments = command({}), .environment = {{"NORMTUNE_CPU_MEMORY_LIMIT", "10000"}}});
  BOOST_TEST(outcome.exit_code == 6);
  BOOST_TEST(contains(outcome.last_error_line(), "normtune: error: out of memory on cpu: asked for "),
             outcome.err);
}

BOOST_AUTO_TEST_CASE(output_that_cannot_be_written_is_told) {
  const Outcome outcome = run_normtune(Call{.arguments = command({"--json"}), .output_to = OutputTo::closed});
  BOOST_TEST(outcome.exit_code == 7);
  BOOST_TEST(contains(outcome.last_error_line(), "cannot write to standard output"));
  // The closed output did not become one of the model's files.
  BOOST_TEST(run_normtune({"inspect", output}).exit_code == 0);
}

BOOST_AUTO_TEST_CASE(help_lists_every_promised_option) {
  const std::string help = run_normtune({"finetune", "--help"}).out;
  for (const char* option : {"model_name_or_path",
                             "task_name",
                             "glue_dir",
                             "train_file",
                             "validation_file",
                             "test_file",
                             "max_train_samples",
                             "max_eval_samples",
                             "max_seq_length",
                             "method",
                             "learning_rate",
                             "num_train_epochs",
                             "max_steps",
                             "per_device_train_batch_size",
                             "per_device_eval_batch_size",
                             "gradient_accumulation_steps",
                             "weight_decay",
                             "adam_beta1",
                             "adam_beta2",
                             "adam_epsilon",
                             "max_grad_norm",
                             "lr_scheduler_type",
                             "warmup_ratio",
                             "warmup_steps",
                             "optim",
                             "eval_strategy",
                             "eval_steps",
                             "save_strategy",
                             "save_steps",
                             "save_total_limit",
                             "logging_steps",
                             "load_best_model_at_end",
                             "metric_for_best_model",
                             "early_stopping_patience",
                             "resume_from_checkpoint",
                             "overwrite_output_dir",
                             "hidden_dropout_prob",
                             "attention_probs_dropout_prob",
                             "classifier_dropout",
                             "data_seed",
                             "init_seed",
                             "dropout_seed",
                             "shuffle",
                             "train_params",
                             "train_pooler",
                             "fresh_pooler",
                             "mask",
                             "random_k",
                             "random_scope",
                             "mask_seed",
                             "lora_r",
                             "lora_alpha",
                             "lora_dropout",
                             "lora_target_modules",
                             "adapter_size",
                             "adapter_reduction_factor",
                             "adapter_non_linearity",
                             "houlsby_layernorm",
                             "random_init",
                             "save_unmerged",
                             "last_layer_cls_only",
                             "output_dir",
                             "device",
                             "precision",
                             "num_threads",
                             "seed",
                             "json",
                             "quiet",
                             "verbose",
                             "config"}) {
    BOOST_TEST(contains(help, std::string("  --") + option + " "), option);
  }
  for (const char* value :
       {"(default: 5e-05)", "(default: 3)", "(default: 8)", "(default: 500)", "(default: 1e-08)",
        "(default: adamw_torch)", "(default: linear)", "(default: epoch)", "(default: query,value)"}) {
    BOOST_TEST(contains(help, value), value);
  }
}

BOOST_AUTO_TEST_SUITE_END()
