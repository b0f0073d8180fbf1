#include "tools/commands.h"

#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "experiments/compare.h"
#include "tests/cuda/device_testing.h"
#include "tests/experiments/tiny_run.h"
#include "tools/console.h"
#include "tools/failure.h"

using namespace normtune;
using namespace normtune::test;
using tiny::Workspace;
namespace fs = std::filesystem;

/// The commands as users give them, with --device cuda and with --device cpu.
BOOST_AUTO_TEST_SUITE(commands)

namespace {

using Command = int (*)(Arguments);

/// Sends standard output to a file, for its lifetime.
class OutputToFile {
 public:
  explicit OutputToFile(const fs::path& file) {
    std::fflush(stdout);
    before_ = ::dup(STDOUT_FILENO);
    const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    BOOST_REQUIRE(before_ >= 0 && descriptor >= 0 && ::dup2(descriptor, STDOUT_FILENO) >= 0);
    ::close(descriptor);
  }
  ~OutputToFile() {
    std::fflush(stdout);
    ::dup2(before_, STDOUT_FILENO);
    ::close(before_);
  }
  OutputToFile(const OutputToFile&) = delete;
  OutputToFile& operator=(const OutputToFile&) = delete;

 private:
  int before_ = -1;
};

/// The document that a command prints. It must have used the device's memory.
nlohmann::json run_command(Command command, std::vector<std::string> arguments, Device device,
                           const std::string& precision = "fp32") {
  for (const std::string& common : {"--device=" + to_string(device), "--precision=" + precision,
                                    std::string("--json"), std::string("--quiet")}) {
    arguments.push_back(common);
  }
  const testing::TemporaryFolder folder;
  Allocator& memory = backend_of(device).allocator();
  memory.reset_peak();
  const size_t before = memory.stats().in_use;
  {
    const OutputToFile output(folder / "output");
    BOOST_REQUIRE(command(arguments) == 0);
  }
  BOOST_TEST(memory.stats().peak_in_use > before);
  return nlohmann::json::parse(fixtures::content_of(folder / "output"));
}

/// How far a number may be from the one that is expected: `share` of its size plus `floor`.
struct Tolerance {
  double share, floor;
};
constexpr Tolerance of_scores{1e-5, 1}, of_squared_gradients{1e-4, 1e-6}, of_sums_in_double{1e-12, 1};

/// Two runs differ in times, memory, and in their ids, which name the device.
bool may_differ(const std::string& key) {
  return tiny::is_volatile(key) || key == "run" || key == "peak_device_bytes";
}

void check_equal(const nlohmann::json& found, const nlohmann::json& expected, const Tolerance& tolerance,
                 const std::string& where = "") {
  if (expected.is_structured()) {
    BOOST_REQUIRE_MESSAGE(found.type() == expected.type() && found.size() == expected.size(), where);
    for (const auto& [key, value] : expected.items()) {
      if (expected.is_object() && may_differ(key)) continue;
      const nlohmann::json& other = expected.is_object() ? found.at(key) : found.at(std::stoul(key));
      check_equal(other, value, tolerance, where + "/" + key);
    }
  } else if (expected.is_number_float()) {
    BOOST_REQUIRE_MESSAGE(found.is_number(), where << ": " << found.dump());
    const auto size = std::abs(expected.get<double>());
    BOOST_CHECK_MESSAGE(
        std::abs(found.get<double>() - expected.get<double>()) <= tolerance.share * (size + tolerance.floor),
        where << ": " << found.dump() << " instead of " << expected.dump());
  } else {
    BOOST_CHECK_MESSAGE(found == expected,
                        where << ": " << found.dump() << " instead of " << expected.dump());
  }
}

void check_ran_on(Device device, const nlohmann::json& results) {
  const nlohmann::json& bytes = results.at("peak_device_bytes");
  BOOST_TEST((device.type == DeviceType::cuda ? bytes.get<int64_t>() > 0 : bytes.is_null()));
}

std::vector<nlohmann::json> lines_of(const fs::path& file) {
  std::vector<nlohmann::json> lines;
  std::istringstream content(fixtures::content_of(file));
  for (std::string line; std::getline(content, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

/// A fine-tuned model, and the same rows as every split of SST-2.
struct TunedModel : Workspace {
  std::string tuned = (folder / "tuned").string();

  TunedModel() {
    const fs::path rows = glue / "SST-2";
    fs::copy_file(rows / "dev.tsv", rows / "test_labelled.tsv");
    finetune(options("tuned"));
  }
  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {tuned, "--task_name=sst2", "--glue_dir=" + glue.string(),
                                    "--max_seq_length=32"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(evaluate_scores_as_on_the_cpu) {
  if (!device_at_hand()) return;
  const TunedModel model;
  for (const std::string cls_only : {"true", "false"}) {
    const std::vector<std::string> arguments = model.arguments({"--last_layer_cls_only=" + cls_only});
    const nlohmann::json expected = run_command(run_evaluate, arguments, {}),
                         found = run_command(run_evaluate, arguments, cuda_device);
    check_equal(found, expected, of_scores);
    check_ran_on({}, expected);
    check_ran_on(cuda_device, found);
  }
}

BOOST_AUTO_TEST_CASE(predict_writes_what_it_does_on_the_cpu) {
  if (!device_at_hand()) return;
  const TunedModel model;
  const auto predictions_on = [&](const std::string& name, Device device) {
    const fs::path output = model.folder / name, logits = model.folder / (name + ".jsonl");
    const nlohmann::json printed = run_command(
        run_predict,
        model.arguments({"--split=dev", "--output_dir=" + output.string(), "--logits=" + logits.string()}),
        device);
    const std::string file = printed.at("predictions").at(0).at("file");
    return std::pair(fixtures::content_of(file), lines_of(logits));
  };
  const auto [expected_answers, expected_logits] = predictions_on("cpu", {});
  const auto [answers, logits] = predictions_on("cuda", cuda_device);
  BOOST_TEST(expected_logits.size() == 10);
  BOOST_TEST(answers == expected_answers);
  check_equal(logits, expected_logits, of_scores);
}

BOOST_AUTO_TEST_CASE(fisher_measures_as_on_the_cpu) {
  if (!device_at_hand()) return;
  const TunedModel model;
  const auto fisher_on = [&](const std::string& name, Device device) {
    const fs::path output = model.folder / name;
    run_command(run_fisher, model.arguments({"--output_dir=" + output.string(), "--figures=false"}), device);
    return read_json_file(output / "fisher.json", ErrorKind::data);
  };
  check_equal(fisher_on("cuda", cuda_device), fisher_on("cpu", {}), of_squared_gradients);
}

BOOST_AUTO_TEST_CASE(drift_measures_as_on_the_cpu) {
  if (!device_at_hand()) return;
  const TunedModel model;
  const std::vector<std::string> versions = {model.model.string(), model.tuned};
  check_equal(run_command(run_drift, versions, cuda_device), run_command(run_drift, versions, {}),
              of_sums_in_double);
}

BOOST_AUTO_TEST_CASE(bench_times_steps_on_the_device) {
  if (!device_at_hand()) return;
  const Workspace workspace;
  for (const char* precision : {"bf16", "fp32"}) {  // the last one stays set
    const nlohmann::json results = run_command(
        run_bench, {workspace.model.string(), "--method=layernorm", "--batch=2", "--seq=8", "--repeats=1"},
        cuda_device, precision);
    BOOST_TEST(results.at("precision") == precision);
    check_ran_on(cuda_device, results);
    for (const char* figure : {"ms_per_step", "tokens_per_second", "roof_gflops", "roof_share"}) {
      BOOST_TEST(results.at(figure).get<double>() > 0, figure);
    }
  }
}

BOOST_AUTO_TEST_CASE(pretrain_trains_and_evaluates_as_on_the_cpu) {
  if (!device_at_hand()) return;
  const testing::TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 24; ++i) {
    text +=
        fmt::format("the red cat sees a dog .\nthe cat likes a blue dog .\nnumber {} is not here .\n\n", i);
  }
  const std::string train = folder.write("train.txt", text), held_out = folder.write("valid.txt", text);
  const auto results_on = [&](const std::string& name, Device device) {
    return run_command(run_pretrain,
                       {"--train_files=" + train, "--validation_files=" + held_out,
                        "--output_dir=" + (folder / name).string(), "--vocab_size=60",
                        "--num_hidden_layers=1", "--hidden_size=16", "--num_attention_heads=2",
                        "--intermediate_size=24", "--max_seq_length=24", "--max_steps=6", "--eval_steps=3",
                        "--eval_strategy=steps", "--per_device_train_batch_size=4", "--learning_rate=1e-3"},
                       device);
  };
  const nlohmann::json expected = results_on("cpu", {}), found = results_on("cuda", cuda_device);
  check_equal(found, expected, {1e-4, 1});
  check_ran_on(cuda_device, found);
  BOOST_TEST(fixtures::content_of(folder / "cuda/held_out.jsonl") ==
             fixtures::content_of(folder / "cpu/held_out.jsonl"));
  BOOST_TEST(fixtures::content_of(folder / "cuda/vocab.txt") ==
             fixtures::content_of(folder / "cpu/vocab.txt"));
}

namespace {

/// This program as normtune: on the device of the tests, it takes a command and its arguments, which it adds
/// to the file `calls`.
fs::path write_program(const testing::TemporaryFolder& folder, const fs::path& calls) {
  const std::string script = fmt::format(
      "#!/bin/sh\n"
      "echo \"$*\" >>'{}'\n"
      "exec '{}' --run_test=commands/child --log_level=nothing --report_level=no -- \"$@\"\n",
      calls.string(), fs::read_symlink("/proc/self/exe").string());
  const fs::path program = folder.write("normtune", script);
  fs::permissions(program, fs::perms::owner_all);
  return program;
}

int run_and_report(const std::vector<std::string>& arguments) {
  static const std::map<std::string, Command> commands = {
      {"finetune", run_finetune}, {"evaluate", run_evaluate}, {"drift", run_drift}, {"fisher", run_fisher}};
  try {
    return commands.at(arguments.at(0))(Arguments(arguments).subspan(1));
  } catch (...) {
    const Failure failure = describe_failure(std::current_exception());
    print_error(failure.message);
    return failure.exit_code;
  }
}

/// The files of a comparison's runs, by their methods.
std::map<std::string, fs::path> runs_by_method(const fs::path& comparison) {
  std::map<std::string, fs::path> runs;
  for (const fs::directory_entry& run : fs::directory_iterator(comparison / "runs")) {
    runs[tiny::results_of(run.path()).at("method")] = run.path();
  }
  return runs;
}

}  // namespace

/// Its runs and measurements are processes of their own, which must be told of the device.
BOOST_AUTO_TEST_CASE(compare_makes_the_table_of_the_cpu) {
  if (!device_at_hand()) return;
  const TunedModel model;
  const auto compare_on = [&](const std::string& name, Device device) {
    ComparisonOptions options;
    options.finetune = model.options(name);
    options.finetune.task.task_name.clear();
    options.finetune.num_train_epochs = 1;
    options.finetune.device = device;
    options.tasks = {"sst2"};
    options.rows = {"full", "layernorm"};
    options.seeds = {1};
    options.keep = {.drift_rows = {"full"}, .fisher_rows = {"full"}, .fisher_samples = 8};
    options.report_split = "test_labelled";
    options.costs = device.type == DeviceType::cuda;
    options.output_dir = options.finetune.output_dir;
    options.program = write_program(model.folder, model.folder / (name + "-calls"));
    const ComparisonResult result = compare(options, {.quiet = true});
    BOOST_TEST(result.first_failure.value_or(0) == 0);
    BOOST_TEST(result.costs.size() == (options.costs ? 2u : 0u));
    for (const MethodCost& cost : result.costs) BOOST_TEST(cost.peak_device_bytes.value_or(0) > 0);
    return options.output_dir;
  };
  const fs::path expected = compare_on("cpu", {}), found = compare_on("cuda", cuda_device);
  BOOST_TEST(fixtures::content_of(found / "table.csv") == fixtures::content_of(expected / "table.csv"));
  const std::map<std::string, fs::path> expected_runs = runs_by_method(expected),
                                        runs = runs_by_method(found);
  BOOST_REQUIRE((expected_runs.size() == 2 && runs.size() == 2));
  for (const auto& [method, run] : expected_runs) {
    const nlohmann::json results = tiny::results_of(runs.at(method));
    check_equal(results, tiny::results_of(run), {1e-4, 1});
    check_ran_on(cuda_device, results);
  }
  const auto fisher_of = [](const fs::path& run) {
    return read_json_file(run / "fisher.json", ErrorKind::data).at("components");
  };
  check_equal(fisher_of(runs.at("full")), fisher_of(expected_runs.at("full")), {1e-3, 1e-3});
  std::istringstream calls(fixtures::content_of(model.folder / "cuda-calls"));
  std::map<std::string, int> counts;
  for (std::string call; std::getline(calls, call);) {
    const std::string command = call.substr(0, call.find(' '));
    ++counts[command];
    BOOST_TEST(call.find(" --device=cuda") != std::string::npos, call);
  }
  BOOST_TEST(
      (counts == std::map<std::string, int>{{"finetune", 4}, {"evaluate", 2}, {"drift", 1}, {"fisher", 1}}));
}

/// What write_program() runs.
BOOST_AUTO_TEST_CASE(child, *boost::unit_test::disabled()) {
  const auto& suite = boost::unit_test::framework::master_test_suite();
  if (suite.argc < 2) return;
  const int code = device_at_hand() ? run_and_report({suite.argv + 1, suite.argv + suite.argc}) : 1;
  std::fflush(stdout);
  std::_Exit(code);
}

BOOST_AUTO_TEST_SUITE_END()
