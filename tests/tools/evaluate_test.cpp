// evaluate, predict and submission: a model is asked about rows.
#include <sys/stat.h>

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/tools/support.h"

using namespace normtune::test;
namespace fs = std::filesystem;

namespace {

struct EvaluateFixture {
  TemporaryFolder folder;
  std::string glue = (folder / "glue").string(), output = (folder / "output").string();

  EvaluateFixture() { write_tiny_glue(glue); }

  /// A model that gives these logits for every row.
  std::string constant_model(const std::string& name, std::vector<float> logits,
                             const nlohmann::json& id2label) const {
    nlohmann::json config = tiny_config();
    config["id2label"] = id2label;
    write_tiny_model(folder / name, {.config = config, .constant_logits = std::move(logits)});
    return (folder / name).string();
  }
  std::string rte_model() const {
    return constant_model("rte", {0.25F, -1}, {{"0", "entailment"}, {"1", "not_entailment"}});
  }
  /// The class order of older scripts, not that of the task.
  std::string mnli_model() const {
    return constant_model("mnli", {2, 0, 1}, {{"0", "contradiction"}, {"1", "entailment"}, {"2", "neutral"}});
  }
  Outcome run(const std::string& command, const std::string& model, const std::string& task,
              std::vector<std::string> options = {}) const {
    options.insert(options.begin(), {command, "--model_name_or_path", model, "--task_name", task,
                                     "--glue_dir", glue, "--max_seq_length", "32"});
    return run_normtune(options);
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(evaluate, EvaluateFixture)

BOOST_AUTO_TEST_CASE(scores_and_keys) {
  const Outcome outcome = run("evaluate", rte_model(), "rte", {"--json"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  const nlohmann::json results = outcome.json();
  BOOST_TEST(results["eval_accuracy"].get<double>() == 6.0 / 9);  // two rows of three are entailment
  BOOST_TEST(results["eval_samples"] == 9);
  // The mean of log(1 + exp(-1.25)) for the six and log(1 + exp(1.25)) for the three others.
  BOOST_TEST(std::abs(results["eval_loss"].get<double>() - (0.25192963 + 1.25 / 3)) < 1e-6);
  BOOST_TEST(results["degenerate"] == true);
  for (const char* key : {"ms_per_step", "peak_rss_bytes", "peak_device_bytes", "total_parameters",
                          "trainable_parameters", "eval_runtime"}) {
    BOOST_TEST(results.contains(key), key);
  }
  const Outcome table = run("evaluate", rte_model(), "rte");
  BOOST_TEST(contains(table.out, "66.67 %"));
}

BOOST_AUTO_TEST_CASE(classes_are_matched_by_name) {
  const Outcome outcome = run("evaluate", mnli_model(), "mnli", {"--json"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.json()["eval_accuracy"].get<double>() == 2.0 / 4);
  BOOST_TEST(outcome.json()["eval_accuracy_mm"].get<double>() == 2.0 / 3);
  BOOST_TEST(outcome.json()["eval_samples_mm"] == 3);
  const Outcome matched = run("evaluate", mnli_model(), "mnli", {"--split", "dev_mismatched", "--json"});
  BOOST_TEST(matched.json()["eval_accuracy_mm"].get<double>() == 2.0 / 3);
}

BOOST_AUTO_TEST_CASE(the_first_rows_and_another_precision) {
  const Outcome outcome =
      run("evaluate", rte_model(), "rte", {"--json", "--max_eval_samples", "3", "--precision", "fp64"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.json()["eval_samples"] == 3);
}

BOOST_AUTO_TEST_CASE(a_model_that_does_not_fit_is_refused) {
  write_tiny_model(folder / "bare");
  const Outcome bare = run("evaluate", (folder / "bare").string(), "rte");
  BOOST_TEST(bare.exit_code == 3);
  BOOST_TEST(contains(bare.last_error_line(), "expected a fine-tuned model, found no classifier"));
  const Outcome labels = run("evaluate", mnli_model(), "rte");
  BOOST_TEST(labels.exit_code == 3);
  BOOST_TEST(
      contains(labels.last_error_line(), "expected a classifier of 2 labels for the task rte, found 3"));
  nlohmann::json config = tiny_config();
  config["type_vocab_size"] = 1;
  write_tiny_model(folder / "one_type", {.config = config, .constant_logits = {0, 1}});
  const Outcome types = run("evaluate", (folder / "one_type").string(), "rte");
  BOOST_TEST(types.exit_code == 3);
  BOOST_TEST(contains(types.last_error_line(), "one token type"));
  BOOST_TEST(run("evaluate", (folder / "one_type").string(), "cola").exit_code == 0);
}

BOOST_AUTO_TEST_CASE(mistakes_have_their_exit_codes) {
  const std::string model = rte_model();
  const Outcome split = run("evaluate", model, "rte", {"--split", "devv"});
  BOOST_TEST(split.exit_code == 2);
  BOOST_TEST(contains(split.last_error_line(), "dev"));
  BOOST_TEST(run("evaluate", model, "rte", {"--split", "test"}).exit_code == 2);  // it has no labels
  BOOST_TEST(run("evaluate", model, "rte", {"--max_seq_length", "33"}).exit_code == 2);
  BOOST_TEST(run("evaluate", model, "rte", {"--glue_dir", (folder / "none").string()}).exit_code == 4);
  const std::string rows = read_text(fs::path(glue) / "RTE/dev.tsv");
  write_text(fs::path(glue) / "RTE/dev.tsv", rows + "9\tthe cat\tthe dog\tperhaps\n");
  const Outcome label = run("evaluate", model, "rte");
  BOOST_TEST(label.exit_code == 4);
  BOOST_TEST(contains(label.last_error_line(), "perhaps"));
  BOOST_TEST(contains(label.last_error_line(), "11"));  // the line
}

BOOST_AUTO_TEST_CASE(predict_replaces_no_device) {
  const fs::path pipe = folder / "pipe";
  BOOST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const Outcome predicted =
      run("predict", rte_model(), "rte", {"--output_dir", output, "--logits", pipe.string()});
  BOOST_TEST(predicted.exit_code == 7);
  BOOST_TEST(contains(predicted.last_error_line(), pipe.string() + ": found a device, pipe or socket"));
  BOOST_TEST(!fs::exists(output));  // refused before the work
  BOOST_TEST(fs::is_fifo(pipe));
}

BOOST_AUTO_TEST_CASE(predictions_and_logits) {
  const std::string logits = (folder / "logits.jsonl").string();
  const Outcome outcome = run("predict", rte_model(), "rte", {"--output_dir", output, "--logits", logits});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(contains(outcome.out, "RTE.tsv: 7 rows of test"));
  std::string expected = "index\tprediction\n", expected_logits;
  for (int i = 0; i < 7; ++i) {
    expected += std::to_string(i) + "\tentailment\n";
    expected_logits += "{\"idx\":" + std::to_string(i) + ",\"logits\":[0.25,-1.0]}\n";
  }
  BOOST_TEST(read_text(fs::path(output) / "RTE.tsv") == expected);
  BOOST_TEST(read_text(logits) == expected_logits);
}

BOOST_AUTO_TEST_CASE(mnli_gives_two_files_and_ax_one) {
  const std::string logits = (folder / "logits.jsonl").string();
  const Outcome outcome =
      run("predict", mnli_model(), "mnli", {"--output_dir", output, "--logits", logits, "--json"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.json()["predictions"].size() == 2u);
  BOOST_TEST(contains(read_text(fs::path(output) / "MNLI-m.tsv"), "4\tcontradiction\n"));
  BOOST_TEST(contains(read_text(fs::path(output) / "MNLI-mm.tsv"), "5\tcontradiction\n"));
  BOOST_TEST(contains(read_text(logits), "{\"idx\":4,"));
  BOOST_TEST(contains(read_text(folder / "logits_mm.jsonl"), "{\"idx\":5,"));
  BOOST_TEST(
      run("predict", mnli_model(), "ax", {"--output_dir", output, "--overwrite_output_dir"}).exit_code == 0);
  BOOST_TEST(read_text(fs::path(output) / "AX.tsv") == "index\tprediction\n0\tcontradiction\n");
}

/// A user's rows: the classes of the training file travel in the model's config.json.
BOOST_AUTO_TEST_CASE(own_files) {
  write_tiny_model(folder / "base");
  const std::string train = folder / "train.csv", test = folder / "test.jsonl", model = folder / "own";
  write_text(train, "sentence1,label\n\"the cat, sleeps\",yes\nthe dog runs,no\na dog,no\n");
  write_text(test, "{\"sentence1\": \"the cat\"}\n{\"sentence1\": \"a dog\"}\n");
  const Outcome tuned =
      run_normtune({"finetune", folder / "base", "--train_file", train, "--validation_file", train,
                    "--output_dir", model, "--max_steps", "60", "--learning_rate", "1e-2", "--json"});
  BOOST_REQUIRE_MESSAGE(tuned.exit_code == 0, tuned.err);
  const Outcome evaluated = run_normtune({"evaluate", model, "--validation_file", train, "--json"});
  BOOST_REQUIRE_MESSAGE(evaluated.exit_code == 0, evaluated.err);
  for (const char* key : {"eval_accuracy", "eval_f1", "eval_samples"}) {
    BOOST_TEST(evaluated.json()[key] == tuned.json()[key], key);
  }
  const Outcome predicted = run_normtune({"predict", model, "--test_file", test, "--output_dir", output});
  BOOST_REQUIRE_MESSAGE(predicted.exit_code == 0, predicted.err);
  const std::string rows = read_text(fs::path(output) / "predictions.tsv");
  BOOST_TEST(rows.starts_with("index\tprediction\n0\t"));
  BOOST_TEST((contains(rows, "1\tyes\n") || contains(rows, "1\tno\n")), rows);
}

BOOST_AUTO_TEST_CASE(logits_that_are_not_finite) {
  write_tiny_model(folder / "broken", {.constant_logits = {NAN, 1}});
  for (const char* command : {"evaluate", "predict"}) {
    const Outcome outcome =
        run(command, folder / "broken", "rte",
            command == std::string("predict") ? std::vector<std::string>{"--output_dir", output}
                                              : std::vector<std::string>{});
    BOOST_TEST(outcome.exit_code == 5);
    BOOST_TEST(contains(outcome.last_error_line(), "tsv: example 0: expected finite logits, found nan"),
               outcome.err);
  }
}

BOOST_AUTO_TEST_CASE(predict_guards_its_output_folder) {
  write_text(fs::path(output) / "notes.txt", "mine");
  const Outcome outcome = run("predict", rte_model(), "rte", {"--output_dir", output});
  BOOST_TEST(outcome.exit_code == 2);
  BOOST_TEST(contains(outcome.last_error_line(), "--overwrite_output_dir"));
  BOOST_TEST(!fs::exists(fs::path(output) / "RTE.tsv"));
  BOOST_TEST(
      run("predict", rte_model(), "rte", {"--output_dir", output, "--overwrite_output_dir"}).exit_code == 0);
  BOOST_CHECK(read_text(fs::path(output) / "notes.txt") == "mine");
  BOOST_TEST(run("predict", rte_model(), "rte").exit_code == 2);
  write_text(folder / "file", "");
  BOOST_TEST(run("predict", rte_model(), "rte", {"--output_dir", (folder / "file").string()}).exit_code == 7);
}

BOOST_AUTO_TEST_CASE(predict_writes_all_or_nothing) {
  const Outcome outcome = run("predict", rte_model(), "rte",
                              {"--output_dir", output, "--logits", (folder / "nowhere/x.jsonl").string()});
  BOOST_TEST(outcome.exit_code == 7);
  BOOST_TEST(contains(outcome.last_error_line(), "nowhere/x.jsonl"), outcome.err);
  BOOST_TEST(!contains(outcome.err, "Predicting"), outcome.err);
  BOOST_TEST(!fs::exists(output));
}

BOOST_AUTO_TEST_CASE(predict_replaces_nothing_that_it_reads) {
  const fs::path rows = fs::path(glue) / "RTE/test.tsv",
                 weights = fs::path(rte_model()) / "model.safetensors";
  for (const fs::path& file : {rows, weights}) {
    const std::string bytes = read_text(file);
    const Outcome outcome =
        run("predict", rte_model(), "rte", {"--output_dir", output, "--logits", file.string()});
    BOOST_TEST(outcome.exit_code == 2, outcome.err);
    BOOST_TEST(contains(outcome.last_error_line(), "--logits " + file.string()), outcome.err);
    BOOST_CHECK(read_text(file) == bytes);
  }
}

BOOST_AUTO_TEST_CASE(a_split_without_labels_is_refused_before_the_first_batch) {
  const Outcome outcome = run("evaluate", rte_model(), "rte", {"--split", "test"});
  BOOST_TEST(outcome.exit_code == 2);
  BOOST_TEST(contains(outcome.last_error_line(), "rte test: expected a split with labels"), outcome.err);
  BOOST_TEST(!contains(outcome.err, "Evaluating"), outcome.err);
}

/// Predictions as the GLUE server takes them.
std::string test_rows(int count, const std::string& prediction) {
  std::string rows = "index\tprediction\n";
  for (int i = 0; i < count; ++i) rows += std::to_string(i) + "\t" + prediction + "\n";
  return rows;
}

BOOST_AUTO_TEST_CASE(submission_replaces_no_device) {
  write_text(fs::path(output) / "RTE.tsv", test_rows(3000, "entailment"));
  const fs::path pipe = folder / "pipe";
  BOOST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const Outcome outcome = run_normtune({"submission", "--output_file", pipe.string(), output});
  BOOST_TEST(outcome.exit_code == 7, outcome.err);
  BOOST_TEST(fs::is_fifo(pipe));
}

BOOST_AUTO_TEST_CASE(submission_fills_what_is_missing) {
  write_text(fs::path(output) / "RTE.tsv", test_rows(3000, "entailment"));
  const std::string zip = (folder / "submission.zip").string();
  const Outcome outcome = run_normtune({"submission", "--output_file", zip, output});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(contains(outcome.out, "RTE.tsv from " + output));
  BOOST_TEST(contains(outcome.out, "filled: WNLI.tsv with 0"));
  const std::string bytes = read_text(zip);
  for (const char* name : {"CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "QQP.tsv", "MNLI-m.tsv",
                           "MNLI-mm.tsv", "QNLI.tsv", "RTE.tsv", "WNLI.tsv", "AX.tsv"}) {
    BOOST_TEST(contains(bytes, name), name);
  }
  fs::rename(output, folder / "[a,b]");  // a folder, not a list
  BOOST_TEST(run_normtune({"submission", "--output_file", zip, folder / "[a,b]"}).exit_code == 0);
  fs::rename(folder / "[a,b]", output);
  write_text(folder / "other/CoLA.tsv", test_rows(1063, "1"));
  const Outcome two = run_normtune({"submission", output, folder / "other", "--output_file", zip});
  BOOST_TEST(two.exit_code == 0, two.err);
  BOOST_TEST(contains(two.out, "RTE.tsv from " + output));
  BOOST_TEST(contains(two.out, "CoLA.tsv from "));
  const nlohmann::json report = run_normtune({"submission", "--json", "--output-file", zip, output}).json();
  BOOST_TEST(report["taken"].size() == 1u);
  BOOST_TEST(report["filled"].size() == 10u);
}

BOOST_AUTO_TEST_CASE(submission_mistakes) {
  const std::string zip = (folder / "submission.zip").string();
  BOOST_TEST(run_normtune({"submission", output}).exit_code == 2);
  BOOST_TEST(run_normtune({"submission", "--output_file", zip}).exit_code == 2);
  write_text(fs::path(output) / "RTE.tsv", "index\tprediction\n0\tentailment\n");
  const Outcome outcome = run_normtune({"submission", "--output_file", zip, output});
  BOOST_TEST(outcome.exit_code == 4);
  BOOST_TEST(contains(outcome.last_error_line(), "expected 3000 rows"));
  BOOST_TEST(!fs::exists(zip));
  const std::string source = (fs::path(output) / "RTE.tsv").string(), rows = test_rows(3000, "entailment");
  write_text(source, rows);
  BOOST_TEST(run_normtune({"submission", "--output_file", source, output}).exit_code == 2);
  BOOST_CHECK(read_text(source) == rows);
}

BOOST_AUTO_TEST_CASE(bench_times_steps_and_kernels) {
  write_tiny_model(folder / "model", {.weights = false});
  const std::vector<std::string> arguments = {
      "bench", folder / "model", "--kernels", "--batch", "2", "--repeats", "1", "--seq", "4", "--json"};
  const Outcome outcome = run_normtune(arguments);
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  const nlohmann::json result = outcome.json();
  for (const char* key : {"ms_per_step", "tokens_per_second", "roof_gflops", "roof_share", "peak_rss_bytes",
                          "saved_bytes_per_token_layer"}) {
    BOOST_TEST(result[key].is_number(), key);
  }
  BOOST_TEST(result["kernels"].size() > 10u);
  for (const nlohmann::json& kernel : result["kernels"]) {
    BOOST_TEST((kernel.contains("kernel") && kernel.contains("shape")));
    BOOST_TEST((kernel.contains("gflops") || kernel.contains("gbs")));
  }
  BOOST_TEST(run_normtune({"bench", folder / "model", "--shape", "tiny"}).exit_code == 2);
}

BOOST_AUTO_TEST_CASE(help_lists_every_promised_option) {
  const auto lists = [](const std::string& command, const std::vector<std::string>& promised) {
    const std::string help = run_normtune({command, "--help"}).out;
    for (const std::string& option : promised)
      BOOST_TEST(contains(help, "  --" + option + " "), command + " " + option);
  };
  lists("inspect", {"num_labels", "method", "tensors", "json", "config"});
  lists("tokenize", {"pair", "jsonl", "tokens", "max_seq_length", "num_threads"});
  lists("evaluate", {"model_name_or_path", "task_name", "glue_dir", "split", "max_seq_length",
                     "max_eval_samples", "device", "precision", "json"});
  lists("predict", {"split", "output_dir", "overwrite_output_dir", "logits", "validation_file", "test_file"});
  lists("submission", {"output_file", "json", "quiet"});
  lists("bench",
        {"shape", "method", "precision", "last_layer_cls_only", "batch", "seq", "lengths", "kernels"});
}

BOOST_AUTO_TEST_SUITE_END()
