#include <boost/test/unit_test.hpp>
#include <chrono>
#include <random>
#include <thread>

#include "tests/tools/compare_fixture.h"
#include "tests/tools/killed_process.h"

using namespace normtune::test;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

/// An experiment of a few tiny runs, with masks and measurements.
struct ReproduceFixture : CompareFixture {
  std::string experiment = (folder / "tiny.toml").string();

  ReproduceFixture() {
    write_text(experiment,
               "experiment = \"tiny\"\n"
               "claim = \"Full fine-tuning is <better> than the head alone.\"\n"
               "measures = \"What is done.\"\n"
               "methods = [\"full\", \"layernorm\", \"head\", \"mask:fisher-50\", \"mask:random-50\", "
               "\"mask:others-50\"]\n"
               "statements = [\"full > head\", \"mask:fisher-* >= layernorm - 90\", \"drift output.LayerNorm "
               "> layers\"]\n");
    write_text(folder / "scale_tiny.toml",
               "tasks = [\"rte\", \"cola\"]\n"
               "seeds = [1, 2]\n"
               "learning_rate = 1e-2\n"
               "num_train_epochs = 1\n"
               "costs = false\n"
               "report_split = \"test_labelled\"\n"
               "keep_drift = [\"full\"]\n"
               "keep_fisher = [\"full\"]\n"
               "fisher_samples = 8\n");
  }

  std::vector<std::string> command(const std::vector<std::string>& options = {},
                                   const std::string& to = "") const {
    std::vector<std::string> arguments = {"reproduce",
                                          experiment,
                                          "--scale",
                                          "tiny",
                                          "--glue_dir",
                                          glue,
                                          "--model_name_or_path",
                                          model,
                                          "--output_dir",
                                          to.empty() ? output : to};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return arguments;
  }
  /// Without figures, which take longer than all else.
  Outcome reproduce(const std::vector<std::string>& options = {}, const std::string& to = "") const {
    return run_normtune(
        Call{.arguments = command(options, to), .environment = {{"NORMTUNE_PYTHON", "/nowhere/python3"}}});
  }
  static std::string results(const std::string& from) {
    std::string bytes;
    for (const char* name :
         {"table.csv", "tests.csv", "statements.csv", "drift.csv", "fisher.csv", "outcomes.csv"}) {
      bytes += std::string(name) + "\n" + read_text(fs::path(from) / "tiny" / name);
    }
    return bytes;
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(reproduce, ReproduceFixture)

BOOST_AUTO_TEST_CASE(an_experiment_from_runs_to_report) {
  const Outcome first = reproduce();
  BOOST_REQUIRE_MESSAGE(first.exit_code == 0, first.err);
  BOOST_TEST(count_run_lines(first.err) == 24);  // six rows, two tasks, two seeds
  BOOST_TEST(contains(first.out, "Verdict: "));
  const std::string html = read_text(fs::path(output) / "tiny" / "report.html");
  for (const char* part : {"Full fine-tuning is &lt;better&gt; than the head alone.", "class=\"verdict",
                           "mask:fisher-50", "output.LayerNorm", "How to repeat it", "SHA-256",
                           "What is done.", "normtune reproduce", "What this sample can and cannot show"}) {
    BOOST_TEST(contains(html, part), part);
  }
  BOOST_TEST(!contains(html, "http"));  // nothing from outside
  BOOST_TEST(!contains(html, "<script"));
  const std::string latex = read_text(fs::path(output) / "tiny" / "tables.tex");
  BOOST_TEST(contains(latex, "\\toprule"));
  BOOST_TEST(contains(read_text(fs::path(output) / "tiny" / "report.md"), "| method |"));
  for (const fs::directory_entry& run : fs::directory_iterator(fs::path(output) / "runs")) {
    BOOST_TEST(!fs::exists(run.path() / "model.safetensors"));
    BOOST_TEST(fs::exists(run.path() / "outcomes.json"));
  }
}

/// With all runs finished, neither model nor data nor masks are needed.
BOOST_AUTO_TEST_CASE(a_second_call_repeats_nothing_and_needs_no_inputs) {
  BOOST_REQUIRE(reproduce().exit_code == 0);
  const std::string before = results(output);
  const std::string report = read_text(fs::path(output) / "tiny" / "report.html");
  BOOST_REQUIRE(reproduce().exit_code == 0);
  BOOST_TEST(read_text(fs::path(output) / "tiny" / "report.html") == report);
  fs::remove_all(model);
  fs::remove_all(glue);
  fs::remove_all(fs::path(output) / "fisher");
  fs::remove_all(fs::path(output) / "tiny");
  for (const fs::directory_entry& mask : fs::directory_iterator(fs::path(output) / "masks")) {
    if (mask.path().extension() == ".safetensors") fs::remove(mask.path());
  }
  const Outcome again = reproduce();
  BOOST_REQUIRE_MESSAGE(again.exit_code == 0, again.err);
  BOOST_TEST(count_run_lines(again.err) == 0);
  BOOST_TEST(results(output) == before);
}

/// Another experiment in the same folder takes the runs that it shares, and measures what they lack.
BOOST_AUTO_TEST_CASE(experiments_share_runs) {
  const Outcome first =
      reproduce({"--methods", "full,head", "--statements", "full > head", "--keep_fisher", "head"});
  BOOST_REQUIRE_MESSAGE(first.exit_code == 0, first.err);
  BOOST_TEST(count_run_lines(first.err) == 8);
  const Outcome second =
      reproduce({"--methods", "full,head", "--statements", "full > head", "--experiment", "other"});
  BOOST_REQUIRE_MESSAGE(second.exit_code == 0, second.err);
  BOOST_TEST(count_run_lines(second.err) == 4);  // full had not kept its Fisher information
  BOOST_TEST(fs::exists(fs::path(output) / "other" / "fisher.csv"));
}

BOOST_AUTO_TEST_CASE(a_budget_leaves_runs_and_the_next_call_does_them) {
  const Outcome first = reproduce({"--budget", "0.0001", "--jobs", "1"});
  BOOST_REQUIRE_MESSAGE(first.exit_code == 0, first.err);
  BOOST_TEST(contains(first.out, "Verdict: undecided. Preliminary: "));
  BOOST_TEST(contains(first.out, "the budget is spent: repeat the command to continue"));
  const Outcome second = reproduce();
  BOOST_REQUIRE_MESSAGE(second.exit_code == 0, second.err);
  BOOST_TEST(!contains(second.out, "Preliminary"));
}

BOOST_AUTO_TEST_CASE(a_dry_run_does_nothing) {
  const Outcome plan = reproduce({"--dry_run"});
  BOOST_REQUIRE_MESSAGE(plan.exit_code == 0, plan.err);
  BOOST_TEST(contains(plan.out, "24 of 24 runs are to be done"));
  BOOST_TEST(!fs::exists(output));
  const nlohmann::json runs = reproduce({"--dry_run", "--json"}).json().at("runs");
  BOOST_REQUIRE_EQUAL(runs.size(), 24u);
  for (const nlohmann::json& run : runs) {
    BOOST_TEST(run.at("estimated_tflop").get<double>() > 0);
    BOOST_TEST(run.at("estimated_memory_bytes").get<int64_t>() > 0);
    const bool masked = run.at("method").get<std::string>().starts_with("mask:");
    BOOST_TEST(run.at("id").is_null() == masked);  // its mask is not made yet
  }
}

BOOST_AUTO_TEST_CASE(a_dry_run_needs_no_more_than_a_configuration) {
  fs::remove(fs::path(model) / "model.safetensors");
  fs::remove_all(glue);
  const Outcome plan = reproduce({"--dry_run", "--tasks", "mnli,rte"});
  BOOST_REQUIRE_MESSAGE(plan.exit_code == 0, plan.err);
  BOOST_TEST(contains(plan.out, "24 of 24 runs are to be done"));
  BOOST_TEST(contains(plan.out, "mnli"));
}

BOOST_AUTO_TEST_CASE(mistakes) {
  const auto error_of = [&](const std::vector<std::string>& options, int exit_code) {
    const Outcome outcome = reproduce(options);
    BOOST_TEST(outcome.exit_code == exit_code, outcome.err);
    return outcome.last_error_line();
  };
  BOOST_TEST(contains(error_of({"--statements", "full better head"}, 2), "expected ROW > ROW"));
  BOOST_TEST(contains(error_of({"--methods", "mask:fischer-20"}, 2), "the nearest is fisher"));
  BOOST_TEST(contains(error_of({"--methods", "mask:fisher-200"}, 2), "PERCENT <= 100"));
  BOOST_TEST(contains(error_of({"--methods", "mask:others-20", "--tasks", "rte"}, 2), "at least two tasks"));
  BOOST_TEST(contains(run_normtune({"compare", model, "--tasks", "rte", "--glue_dir", glue, "--methods",
                                    "mask:fisher-20", "--output_dir", output})
                          .last_error_line(),
                      "normtune reproduce"));
}

/// A statement that no run can decide is refused before the first one, and a dry run says the same.
BOOST_AUTO_TEST_CASE(impossible_statements) {
  const auto refuses = [&](const std::vector<std::string>& options, const std::vector<std::string>& parts) {
    for (const bool dry_run : {false, true}) {
      std::vector<std::string> all = options;
      if (dry_run) all.emplace_back("--dry_run");
      const Outcome outcome = reproduce(all);
      BOOST_TEST(outcome.exit_code == 2, outcome.err);
      for (const std::string& part : parts)
        BOOST_TEST(contains(outcome.last_error_line(), part), outcome.err);
      BOOST_TEST(!fs::exists(output));
    }
  };
  refuses({"--statements", "layernorm >> head"}, {"--statements: expected ROW > ROW", "'layernorm >> head'"});
  refuses({"--statements", "layernorm ? head"}, {"--statements: expected ROW > ROW"});
  refuses({"--statements", "layernrm > head"},
          {"'layernrm > head'", "nearest is layernorm", "full, layernorm"});
  refuses({"--statements", "layernorm > lora"}, {"'layernorm > lora'", "--methods", "no row lora"});
  refuses({"--statements", "mask:fischer-* > head"}, {"no row mask:fischer-*"});
  refuses({"--statements", "drift nope > layers"}, {"'drift nope > layers'", "attention.self.query"});
  refuses({"--statements", "fisher output.LayerNorm > output.dens"}, {"the nearest is output.dense"});
  refuses({"--statements", "drift output.LayerNorm > layers", "--keep_drift", "lora"},
          {"--keep_drift", "full"});
  refuses({"--statements", "fisher output.LayerNorm > layers", "--methods", "head"},
          {"--keep_fisher", "head"});
  refuses({"--keep_drift", "lora2"}, {"--keep_drift", "lora"});
  refuses({"--keep_fisher", "ful"}, {"--keep_fisher", "full"});
  refuses({"--keep_drift", "full@untrained"}, {"--keep_drift", "full@untrained"});
}

BOOST_AUTO_TEST_CASE(names_of_experiments) {
  for (const char* name : {"../zz", "runs", "masks", "inputs.json", "", ".", "..", "a/b", ".hidden"}) {
    for (const char* option : {"--quiet", "--dry_run"}) {
      const Outcome outcome = reproduce({std::string("--experiment=") + name, option});
      BOOST_TEST(outcome.exit_code == 2, name << ": " << outcome.err);
      BOOST_TEST(contains(outcome.last_error_line(), "--experiment"), outcome.err);
      BOOST_TEST(!fs::exists(output));
    }
  }
}

/// The scales of the program serve experiments elsewhere; their own folder comes first.
BOOST_AUTO_TEST_CASE(where_scales_are_looked_for) {
  const Outcome pocket = reproduce({"--scale", "pocket", "--methods", "full", "--tasks", "rte",
                                    "--statements", "drift output.LayerNorm > layers", "--dry_run"});
  BOOST_TEST(pocket.exit_code == 0, pocket.err);
  BOOST_TEST(contains(pocket.out, "3 of 3 runs are to be done"), pocket.out);
  const Outcome huge = reproduce({"--scale", "huge"});
  BOOST_TEST(huge.exit_code == 2, huge.err);
  for (const char* part : {"--scale", "'huge'", "large, pocket, small, tiny", "scale_huge.toml"}) {
    BOOST_TEST(contains(huge.last_error_line(), part), huge.err);
  }
  const Outcome nothing = run_normtune({"reproduce"});
  BOOST_TEST(nothing.exit_code == 2, nothing.err);
  BOOST_TEST(contains(nothing.last_error_line(), "FILE.toml is missing"), nothing.err);
}

/// Killed at random moments and started again, an experiment ends with the same tables.
BOOST_AUTO_TEST_CASE(kills_change_no_byte) {
  const std::vector<std::string> options = {"--quiet", "--jobs", "2"};
  const auto begin = Clock::now();
  BOOST_REQUIRE(reproduce(options, (folder / "whole").string()).exit_code == 0);
  const auto whole_time = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
  constexpr unsigned seed = 10;
  std::mt19937 random(seed);
  BOOST_TEST_MESSAGE("seed of the moments: " << seed);
  int64_t num_hit = 0;
  for (int i = 0; i < 10; ++i) {
    const std::chrono::milliseconds delay(random() % static_cast<unsigned>(whole_time.count() / 4 + 1));
    num_hit += kill_after(start_program(command(options)), delay) ? 1 : 0;
  }
  BOOST_TEST_MESSAGE(num_hit << " of 10 kills came before the end");
  const Outcome last = reproduce(options);
  BOOST_TEST(last.exit_code == 0, last.err);
  BOOST_TEST(results(output) == results((folder / "whole").string()));
}

BOOST_AUTO_TEST_SUITE_END()
