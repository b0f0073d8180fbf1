// The command line itself: names, values, configuration files, help, and what unknown names are answered
// with.
#include <boost/test/unit_test.hpp>

#include "tests/tools/support.h"

using namespace normtune::test;

namespace {

/// The tiny model's counts under options that a test is about.
struct InspectFixture {
  TemporaryFolder folder;
  std::string model = (folder / "model").string();

  InspectFixture() { write_tiny_model(model, {.weights = false}); }

  Outcome inspect(std::vector<std::string> options) const {
    options.insert(options.begin(), {"inspect", model, "--json"});
    return run_normtune(options);
  }
  int64_t trainable(const std::vector<std::string>& options) const {
    const Outcome outcome = inspect(options);
    BOOST_TEST(outcome.exit_code == 0, outcome.err);
    return outcome.json()["trainable_parameters"];
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(options, InspectFixture)

BOOST_AUTO_TEST_CASE(dashes_and_underscores_are_equal) {
  const int64_t expected = trainable({"--method", "lora", "--lora_r", "3"});
  BOOST_TEST(trainable({"--method", "lora", "--lora-r", "3"}) == expected);
  BOOST_TEST(trainable({"--method=lora", "--lora-r=3"}) == expected);
  BOOST_TEST(trainable({"--method=lora", "--lora_r=3"}) == expected);
  BOOST_TEST(trainable({"--method", "lora"}) != expected);
}

BOOST_AUTO_TEST_CASE(values_keep_their_dashes_and_underscores) {
  const TemporaryFolder other;
  write_tiny_model(other / "my-model_dir", {.weights = false});
  for (const std::string& written :
       {std::string("--model-name-or-path"), std::string("--model_name_or_path")}) {
    BOOST_TEST(run_normtune({"inspect", written, other / "my-model_dir"}).exit_code == 0);
    BOOST_TEST(run_normtune({"inspect", written + "=" + (other / "my-model_dir").string()}).exit_code == 0);
  }
}

BOOST_AUTO_TEST_CASE(a_folder_in_brackets_is_a_folder) {
  const TemporaryFolder other;
  write_tiny_model(other / "[a,b]", {.weights = false});
  BOOST_TEST(run_normtune({"inspect", other / "[a,b]"}).exit_code == 0);
  BOOST_TEST(run_normtune({"inspect", "--", other / "[a,b]"}).exit_code == 0);
}

BOOST_AUTO_TEST_CASE(booleans_are_bare_or_true_or_false) {
  const int64_t with = trainable({"--method", "houlsby"});
  BOOST_TEST(trainable({"--method", "houlsby", "--houlsby_layernorm"}) == with);
  BOOST_TEST(trainable({"--houlsby_layernorm", "true", "--method", "houlsby"}) == with);
  BOOST_TEST(trainable({"--method", "houlsby", "--houlsby-layernorm=true"}) == with);
  BOOST_TEST(trainable({"--method", "houlsby", "--houlsby_layernorm", "false"}) < with);
  BOOST_TEST(trainable({"--method", "houlsby", "--houlsby_layernorm=false"}) < with);
  const Outcome outcome = inspect({"--tensors=perhaps"});
  BOOST_TEST(outcome.exit_code == 2);
  BOOST_TEST(outcome.last_error_line() ==
             "normtune: error: --tensors: expected true or false, found 'perhaps'");
}

BOOST_AUTO_TEST_CASE(the_last_of_several_values_wins) {
  BOOST_TEST(trainable({"--method", "full", "--method", "layernorm"}) ==
             trainable({"--method", "layernorm"}));
}

BOOST_AUTO_TEST_CASE(unknown_option_names_the_nearest) {
  const Outcome outcome = inspect({"--metod", "full"});
  BOOST_TEST(outcome.exit_code == 2);
  BOOST_TEST(
      outcome.last_error_line() ==
      "normtune: error: --metod: unknown option of inspect; the nearest is --method (see normtune inspect "
      "--help)");
  BOOST_TEST(contains(inspect({"--lora-rr=3"}).last_error_line(), "the nearest is --lora_r "));
  BOOST_TEST(inspect({"-x"}).exit_code == 2);
}

BOOST_AUTO_TEST_CASE(unknown_command_names_the_nearest) {
  const Outcome outcome = run_normtune({"inspekt"});
  BOOST_TEST(outcome.exit_code == 2);
  BOOST_TEST(contains(outcome.last_error_line(),
                      "normtune: error: 'inspekt': unknown command; the nearest is inspect"));
  BOOST_TEST(run_normtune(std::vector<std::string>{}).exit_code == 2);
  BOOST_TEST(run_normtune({"--method", "full"}).exit_code == 2);
}

BOOST_AUTO_TEST_CASE(unknown_value_names_the_nearest) {
  const Outcome outcome = inspect({"--method", "layer_norm"});
  BOOST_TEST(outcome.exit_code == 2);
  BOOST_TEST(contains(outcome.last_error_line(),
                      "--method: unknown value 'layer_norm'; the nearest is layernorm, all are full, head"));
}

BOOST_AUTO_TEST_CASE(malformed_values_say_what_was_expected) {
  const auto last_line = [&](const std::vector<std::string>& options) {
    const Outcome outcome = inspect(options);
    BOOST_TEST(outcome.exit_code == 2);
    return outcome.last_error_line();
  };
  BOOST_TEST(last_line({"--num_labels", "0"}) ==
             "normtune: error: --num_labels: expected an integer of at least 1, found '0'");
  BOOST_TEST(last_line({"--num-labels", "2x"}) ==
             "normtune: error: --num-labels: expected an integer of at least 1, found '2x'");
  BOOST_TEST(last_line({"--lora_alpha", "nan"}) ==
             "normtune: error: --lora_alpha: expected a number above 0, found 'nan'");
  BOOST_TEST(last_line({"--lora_dropout", "1"}) ==
             "normtune: error: --lora_dropout: expected a number of at least 0 and below 1, found '1'");
  BOOST_TEST(last_line({"--seed=-1"}) ==
             "normtune: error: --seed: expected an integer of at least 0, found '-1'");
  BOOST_TEST(contains(last_line({"--seed"}), "--seed: expected a value, found nothing"));
  BOOST_TEST(contains(last_line({"--seed", "--tensors"}), "--seed: expected a value, found nothing"));
  BOOST_TEST(contains(last_line({"another"}), "'another': an argument too many"));
  BOOST_TEST(contains(last_line({"--tensors", "maybe"}),
                      "'maybe': an argument too many; --tensors takes true or false"));
}

BOOST_AUTO_TEST_CASE(the_model_stands_with_or_without_its_name_but_not_both) {
  const Outcome both =
      run_normtune({"inspect", "--model_name_or_path", model, "--lora_target_modules", "query", "value"});
  BOOST_TEST(both.exit_code == 2);
  BOOST_TEST(contains(both.last_error_line(), "'value': an argument too many beside --model_name_or_path"));
  write_text(folder / "run.toml", "model_name_or_path = \"nowhere\"\n");
  BOOST_TEST(inspect({"--config", folder / "run.toml"}).exit_code == 0);  // the command line wins
  BOOST_TEST(run_normtune({"inspect", "--config", folder / "run.toml"}).exit_code == 3);
}

BOOST_AUTO_TEST_CASE(a_choice_with_true_may_be_bare) {
  BOOST_TEST(trainable({"--method", "layernorm", "--train_pooler"}) ==
             trainable({"--method", "layernorm", "--train_pooler", "true"}));
  BOOST_TEST(trainable({"--method", "layernorm", "--train_pooler", "--seed", "1"}) >
             trainable({"--method", "layernorm", "--train_pooler", "false"}));
}

BOOST_AUTO_TEST_CASE(configuration_file_holds_the_same_names) {
  write_text(folder / "run.toml",
             "method = \"lora\"\nlora-r = 3\nlora_target_modules = [\"query\", \"key\"]\n"
             "lora_alpha = 4.5\ntensors = true\n");
  const Outcome outcome = inspect({"--config", folder / "run.toml"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  const int64_t expected =
      trainable({"--method", "lora", "--lora_r", "3", "--lora_target_modules", "query,key"});
  BOOST_TEST(outcome.json()["trainable_parameters"] == expected);
  BOOST_TEST(outcome.json().contains("tensors"));
}

BOOST_AUTO_TEST_CASE(a_configuration_file_names_no_other) {
  write_text(folder / "run.toml", "seed = 1\nconfig = \"other.toml\"\n");
  const Outcome outcome = inspect({"--config", folder / "run.toml"});
  BOOST_TEST(outcome.exit_code == 2);
  BOOST_TEST(contains(outcome.last_error_line(), "run.toml:2: config: "));
}

BOOST_AUTO_TEST_CASE(command_line_wins_over_configuration_file) {
  write_text(folder / "run.toml", "method = \"lora\"\nlora_r = 3\n");
  BOOST_TEST(trainable({"--config", folder / "run.toml", "--lora-r", "2"}) ==
             trainable({"--method=lora", "--lora_r=2"}));
  BOOST_TEST(trainable({"--lora-r", "2", "--config=" + (folder / "run.toml").string()}) ==
             trainable({"--method=lora", "--lora_r=2"}));
}

BOOST_AUTO_TEST_CASE(configuration_file_mistakes_name_file_and_line) {
  const std::string file = (folder / "run.toml").string();
  const auto outcome_of = [&](std::string_view text) {
    write_text(file, text);
    return inspect({"--config", file});
  };
  const Outcome unknown = outcome_of("seed = 1\nmetod = \"full\"\n");
  BOOST_TEST(unknown.exit_code == 2);
  BOOST_TEST(
      contains(unknown.last_error_line(),
               "normtune: error: " + file + ":2: metod: unknown option of inspect; the nearest is --method"));
  const Outcome malformed = outcome_of("seed = 1\nmethod = = 2\n");
  BOOST_TEST(malformed.exit_code == 3);
  BOOST_TEST(contains(malformed.last_error_line(), "normtune: error: " + file + ":2: "));
  const Outcome wrong_value = outcome_of("\n\nlora_r = \"many\"\n");
  BOOST_TEST(wrong_value.exit_code == 2);
  BOOST_TEST(wrong_value.last_error_line() ==
             "normtune: error: " + file + ":3: lora_r: expected an integer of at least 1, found 'many'");
  const Outcome table = outcome_of("[method]\nname = 1\n");
  BOOST_TEST(table.exit_code == 2);
  BOOST_TEST(contains(table.last_error_line(), file + ":1: 'method': expected text, a number"));
  BOOST_TEST(inspect({"--config", folder / "none.toml"}).exit_code == 3);
}

BOOST_AUTO_TEST_CASE(a_device_or_precision_that_is_not_there_is_refused) {
  const auto refused = [&](const std::vector<std::string>& options, std::string_view message) {
    const Outcome outcome = inspect(options);
    BOOST_TEST(outcome.exit_code == 2);
    BOOST_TEST(contains(outcome.last_error_line(), message), outcome.err);
  };
  refused({"--device", "cuda:63"}, "device cuda:63: ");
  refused({"--device", "cuda:123456789012"}, "device cuda:123456: this machine has no such device");
  refused({"--device", "gpu"}, "--device: expected cpu, cuda or cuda:N, found 'gpu'");
  refused({"--device", "cuda:"}, "--device: expected cpu, cuda or cuda:N");
  refused({"--precision", "tf32"}, "--precision tf32 exists on CUDA devices only");
  refused({"--precision", "fp8"}, "the nearest is ");
  refused({"--num_threads", "0"}, "--num_threads: expected an integer of at least 1");
  BOOST_TEST(inspect({"--device", "cpu", "--precision", "fp64", "--num_threads", "2"}).exit_code == 0);
}

BOOST_AUTO_TEST_CASE(help_and_version) {
  const Outcome help = run_normtune({"--help"});
  BOOST_TEST(help.exit_code == 0);
  BOOST_TEST(help.err == "");
  for (const char* command :
       {"inspect", "tokenize", "finetune", "evaluate", "predict", "submission", "bench"})
    BOOST_TEST(contains(help.out, command), command);
  const Outcome version = run_normtune({"--version"});
  BOOST_TEST(version.exit_code == 0);
  for (const char* part : {"normtune ", "build: ", "nlohmann-json ", "instruction set: ", "devices: cpu"}) {
    BOOST_TEST(contains(version.out, part), part);
  }
  const Outcome command_help = run_normtune({"inspect", "--no-such-model", "--help"});
  BOOST_TEST(command_help.exit_code == 2);  // a typing error is not hidden by --help
  const Outcome inspect_help = run_normtune({"inspect", "--help"});
  BOOST_TEST(inspect_help.exit_code == 0);
  for (const char* part : {"Method:", "--method full|head|layernorm|", "--lora_r N", "(default: 8)",
                           "--num_labels", "--tensors", "--config FILE.toml", "--seed N", "(default: 42)"}) {
    BOOST_TEST(contains(inspect_help.out, part), part);
  }
}

BOOST_AUTO_TEST_CASE(words_go_on_to_the_next_option) {
  write_tiny_model(model);
  write_tiny_glue(folder / "glue");
  const auto rates = [&](std::vector<std::string> options) {
    const std::vector<std::string> others = {
        "--model_name_or_path", model,           "--tasks",   "rte",
        "--glue_dir",           folder / "glue", "--methods", "full,head",
        "--output_dir",         folder / "out",  "--dry_run", "--json"};
    options.insert(options.begin(), "compare");
    options.insert(options.end(), others.begin(), others.end());
    const Outcome outcome = run_normtune(options);
    BOOST_TEST(outcome.exit_code == 0, outcome.err);
    const nlohmann::json document = outcome.json();
    std::vector<double> found;
    for (const nlohmann::json& run : document["runs"]) found.push_back(run["learning_rate"]);
    return found;
  };
  const std::vector<double> expected = {0.25, 0.5, 1};
  BOOST_TEST(rates({"--learning_rates", "full=0.25,0.5", "head=1"}) == expected,
             boost::test_tools::per_element());
  BOOST_TEST(rates({"--learning_rates=full=0.25,0.5", "--learning_rates", "head=1"}) == expected,
             boost::test_tools::per_element());
  BOOST_TEST(run_normtune({"compare", "--learning_rates"}).exit_code == 2);
}

BOOST_AUTO_TEST_SUITE_END()
