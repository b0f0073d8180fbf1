// fisher and mask: which elements matter, a choice of them, and fine-tuning with it.
#include <boost/test/unit_test.hpp>
#include <set>

#include "nn/mask_file.h"
#include "nn/safetensors.h"
#include "tests/tools/support.h"

using namespace normtune;
using namespace normtune::test;
namespace fs = std::filesystem;

namespace {

struct FisherFixture {
  TemporaryFolder folder;
  std::string glue = (folder / "glue").string(), model = (folder / "model").string(),
              output = (folder / "output").string();

  FisherFixture() {
    write_tiny_glue(glue);
    write_tiny_model(model);
  }

  std::string path(const std::string& name) const { return (folder / name).string(); }

  static Outcome run(std::vector<std::string> arguments) { return run_normtune(std::move(arguments)); }
  Outcome fisher(std::vector<std::string> options = {}, const std::string& task = "rte") const {
    options.insert(options.begin(),
                   {"fisher", model, "--task_name", task, "--glue_dir", glue, "--max_seq_length", "32"});
    options.push_back("--figures=false");  // which take seconds
    return run(options);
  }
  /// The Fisher information of the tiny model on a task, as a file.
  std::string fisher_file(const std::string& task = "rte") const {
    const Outcome outcome = fisher({"--output_dir", path("fisher-" + task)}, task);
    BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    return path("fisher-" + task + "/fisher.safetensors");
  }
  /// Writes a mask and returns its name.
  std::string mask(const std::string& name, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "mask");
    arguments.insert(arguments.end(), {"--output_file", path(name)});
    const Outcome outcome = run(arguments);
    BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    return path(name);
  }
};

void check_refused(const Outcome& outcome, int exit_code, const std::string& part) {
  BOOST_TEST(outcome.exit_code == exit_code, outcome.err);
  BOOST_TEST(contains(outcome.last_error_line(), part), outcome.err);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(fisher, FisherFixture)

BOOST_AUTO_TEST_CASE(lists_and_files) {
  const Outcome outcome = fisher({"--json", "--output_dir", output});
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  const nlohmann::json report = outcome.json();
  BOOST_TEST(report["samples"] == 24);
  BOOST_TEST(report["kind"] == "empirical");
  BOOST_TEST(report["components"].size() == 14u);
  BOOST_TEST(report["component_layers"].size() == 4u + 2 * 8 + 2);
  BOOST_TEST(report["tensors"].size() == 16u * 2 + 9);
  for (const char* list : {"components", "component_layers", "tensors"}) {
    for (const nlohmann::json& row : report[list]) {
      for (const char* key : {"component", "layer", "elements", "mean", "max", "sum", "rounding_noise"}) {
        BOOST_TEST(row.contains(key), key);
      }
    }
  }
  BOOST_TEST(report["components"][0]["layer"].is_null());
  BOOST_TEST(report["tensors"][0]["tensor"] == "bert.embeddings.word_embeddings.weight");
  BOOST_TEST(report["model_sha256"]["weights"].get<std::string>().size() == 64u);
  BOOST_TEST(report["data_sha256"].size() == 1u);
  BOOST_TEST(contains(outcome.err, "drawn from init_seed 42"), outcome.err);
  BOOST_TEST(contains(outcome.err, "classifier.weight"), outcome.err);
  for (const char* name :
       {"fisher.safetensors", "fisher.json", "components.csv", "component_layers.csv", "tensors.csv"}) {
    BOOST_TEST(fs::exists(fs::path(output) / name), name);
  }
  BOOST_TEST(nlohmann::json::parse(read_text(fs::path(output) / "fisher.json")) == report);
}

BOOST_AUTO_TEST_CASE(tables_for_people_rank_noise_last) {
  const Outcome outcome = fisher();
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(contains(outcome.out, "Empirical Fisher information of "));
  BOOST_TEST(contains(outcome.out, "output.LayerNorm.bias"));
  const size_t noise = outcome.out.find("attention.self.key.bias (rounding noise)");
  BOOST_REQUIRE(noise != std::string::npos);
  BOOST_TEST(outcome.out.find('\n', noise) + 2 >= outcome.out.size());  // the last row of the last table
}

BOOST_AUTO_TEST_CASE(equal_calls_give_equal_bytes) {
  for (const char* threads : {"1", "2"}) {
    const std::string folder_name = path(std::string("threads") + threads);
    BOOST_TEST(fisher({"--output_dir", folder_name, "--num_threads", threads}).exit_code == 0);
  }
  for (const char* name : {"fisher.safetensors", "fisher.json", "components.csv"}) {
    BOOST_TEST(read_text(folder / "threads1" / name) == read_text(folder / "threads2" / name), name);
  }
}

BOOST_AUTO_TEST_CASE(rows_kinds_and_seeds) {
  BOOST_TEST(fisher({"--json", "--num_samples", "5"}).json()["samples"] == 5);
  BOOST_TEST(fisher({"--json", "--split", "dev"}).json()["samples"] == 9);
  const nlohmann::json empirical = fisher({"--json"}).json();
  const nlohmann::json expected = fisher({"--json", "--expected", "--precision", "fp64"}).json();
  BOOST_TEST(expected["kind"] == "expected");
  BOOST_TEST(expected["precision"] == "fp64");
  BOOST_TEST(expected["components"][3]["mean"] != empirical["components"][3]["mean"]);
  BOOST_TEST(fisher({"--json", "--init_seed", "7"}).json()["components"] != empirical["components"]);
  BOOST_TEST(fisher({"--json", "--seed", "7"}).json()["init_seed"] == 7);
}

BOOST_AUTO_TEST_CASE(a_model_without_pooler) {
  write_tiny_model(model, {.pooler = false});
  check_refused(fisher(), 3, "--fresh_pooler");
  const Outcome outcome = fisher({"--fresh_pooler", "--json"});
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.json()["fresh"].size() == 4u);
}

BOOST_AUTO_TEST_CASE(own_files_and_regression) {
  write_text(folder / "rows.csv", "sentence1,label\nthe cat,0.5\nthe dog runs,2.0\na dog,1.5\n");
  const std::vector<std::string> arguments = {"fisher",           model, "--train_file", path("rows.csv"),
                                              "--max_seq_length", "32",  "--json"};
  const Outcome outcome = run(arguments);
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.json()["likelihood"] == "normal, variance 1");
  BOOST_TEST(outcome.json()["samples"] == 3);
  write_text(folder / "unlabelled.csv", "sentence1\nthe cat\n");
  std::vector<std::string> test_rows = {"fisher",  model,  "--test_file", path("unlabelled.csv"),
                                        "--split", "test", "--task_name", "cola"};
  check_refused(run(test_rows), 2, "its rows have no labels; expected labels, or --expected");
  test_rows.insert(test_rows.end(), {"--expected", "--max_seq_length", "32"});
  BOOST_TEST(run(test_rows).exit_code == 0);
}

BOOST_AUTO_TEST_CASE(adapters) {
  const auto tune = [&](const std::string& method) {
    const Outcome outcome =
        run({"finetune", model, "--task_name", "rte", "--glue_dir", glue, "--max_seq_length", "32",
             "--method", method, "--max_steps", "2", "--output_dir", path(method)});
    BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    return run({"fisher", path(method), "--task_name", "rte", "--glue_dir", glue, "--max_seq_length", "32",
                "--json"});
  };
  const Outcome houlsby = tune("houlsby");
  BOOST_REQUIRE_MESSAGE(houlsby.exit_code == 0, houlsby.err);
  BOOST_TEST(contains(houlsby.out, "adapter_down"));
  BOOST_TEST(tune("lora").exit_code == 0);  // merged
  check_refused(tune("pfeiffer"), 3, "use each output.LayerNorm twice");
}

BOOST_AUTO_TEST_CASE(fisher_mistakes) {
  check_refused(run({"fisher", "--task_name", "rte", "--glue_dir", glue}), 2, "--model_name_or_path");
  check_refused(run({"fisher", model}), 2, "no data");
  check_refused(fisher({"--split", "trian"}), 2, "train");
  check_refused(fisher({"--num_samples", "0"}), 2, "num_samples");
  check_refused(fisher({"--max_seq_length", "33"}), 2, "32 positions");
  check_refused(fisher({"--split", "dev"}, "mnli"), 2, "expected one split, found 2; choose dev_matched");
  check_refused(run({"fisher", path("nowhere"), "--task_name", "rte", "--glue_dir", glue}), 3, "nowhere");
  check_refused(run({"fisher", model, "--task_name", "rte", "--glue_dir", path("nowhere")}), 4, "nowhere");
  write_text(folder / "file", "");
  check_refused(fisher({"--output_dir", path("file")}), 7, "file");
}

BOOST_AUTO_TEST_CASE(masks_are_reproducible_to_the_element) {
  const std::string scores = fisher_file();
  const std::string first = mask("first", {"from-fisher", scores, "--top_k", "20"});
  const std::string second = mask("second", {"from-fisher", scores, "--top_k", "20"});
  BOOST_TEST(read_text(first) == read_text(second));
  const ElementMask chosen = read_mask(first);
  BOOST_TEST(chosen.count() == 20);
  BOOST_TEST(chosen.origin.method == "from-fisher");
  BOOST_TEST(chosen.origin.base_model_sha256.size() == 64u);
  const std::string random = mask("random", {"random", model, "--top_k", "20", "--seed", "5"});
  BOOST_TEST(read_text(random) ==
             read_text(mask("again", {"random", model, "--top_k", "20", "--seed", "5"})));
  BOOST_TEST(read_text(random) !=
             read_text(mask("other", {"random", model, "--top_k", "20", "--seed", "6"})));
  BOOST_TEST(read_mask(random).origin.base_model_sha256 == chosen.origin.base_model_sha256);
}

BOOST_AUTO_TEST_CASE(scopes_shares_and_the_lowest) {
  const std::string scores = fisher_file(), scope = "bert.encoder.layer.*.output.LayerNorm.*";
  const ElementMask half = read_mask(
      mask("half", {"from-fisher", scores, "--top_share", "0.5", "--scope", "*.output.LayerNorm.*"}));
  BOOST_TEST(half.count() == 2 * 2 * 8 * 2 / 2);  // the attention's too: `*` crosses dots
  const ElementMask high =
      read_mask(mask("high", {"from-fisher", scores, "--top_k", "10", "--scope", scope}));
  const ElementMask low =
      read_mask(mask("low", {"from-fisher", scores, "--top_k", "22", "--lowest", "--scope", scope}));
  BOOST_TEST(high.count() + low.count() == 32);
  const Outcome both =
      run({"mask", "intersection", path("high"), path("low"), "--output_file", path("none"), "--json"});
  BOOST_TEST(both.json()["elements"] == 0);
  BOOST_TEST(contains(both.err, "the mask is empty"), both.err);
}

/// The masks of the other tasks, united: what a task that is left out is tried with.
BOOST_AUTO_TEST_CASE(sets_and_overlap) {
  const std::string a = mask("a", {"from-fisher", fisher_file("rte"), "--top_k", "30"});
  const std::string b = mask("b", {"from-fisher", fisher_file("cola"), "--top_k", "30"});
  const std::string united = mask("union", {"union", a, b}), shared = mask("shared", {"intersection", a, b});
  BOOST_TEST(read_mask(united).count() + read_mask(shared).count() == 60);
  BOOST_TEST(read_mask(united).origin.candidates == read_mask(a).origin.candidates);
  const std::string mean = mask("mean", {"from-fisher", path("fisher-rte/fisher.safetensors"),
                                         path("fisher-cola/fisher.safetensors"), "--top_k", "30"});
  BOOST_TEST(read_mask(mean).count() == 30);
  const Outcome outcome =
      run({"mask", "overlap", a, b, united, "--output_dir", output, "--figures", "false", "--json"});
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  const nlohmann::json overlap = outcome.json();
  BOOST_TEST(overlap["masks"].size() == 3u);
  BOOST_TEST(overlap["pairs"].size() == 3u);
  BOOST_TEST(overlap["pairs"][0]["shared"] == read_mask(shared).count());
  BOOST_TEST(overlap["pairs"][0]["shared_by_chance"].is_number());
  BOOST_TEST(overlap["pairs"][1]["shared"] == 30);
  BOOST_TEST(nlohmann::json::parse(read_text(fs::path(output) / "overlap.json")) == overlap);
  BOOST_TEST(contains(read_text(fs::path(output) / "overlap.csv"), "a,b,30,30,"));
  BOOST_TEST(contains(run({"mask", "overlap", a, b}).out, "a and b"));
}

BOOST_AUTO_TEST_CASE(masks_from_drift) {
  const auto finetune = [&](const std::string& method, const std::string& folder_name) {
    const Outcome outcome = run({"finetune", model, "--task_name", "rte", "--glue_dir", glue,
                                 "--max_seq_length", "32", "--method", method, "--max_steps", "3",
                                 "--learning_rate", "1e-2", "--output_dir", path(folder_name)});
    BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    BOOST_TEST(run({"drift", model, path(folder_name), "--output_dir", path(folder_name + "-drift"),
                    "--figures", "false"})
                   .exit_code == 0);
    return path(folder_name + "-drift/drift.safetensors");
  };
  // Nothing but the LayerNorms has moved.
  const ElementMask mask_of_layernorm =
      read_mask(mask("drift.mask", {"from-drift", finetune("layernorm", "layernorm"), "--top_k", "32"}));
  BOOST_TEST(mask_of_layernorm.origin.method == "from-drift");
  BOOST_TEST(mask_of_layernorm.count() == 32);
  for (const MaskedTensor& masked : mask_of_layernorm.tensors) {
    BOOST_TEST((contains(masked.name, ".output.LayerNorm.") && !contains(masked.name, "attention")),
               masked.name);
  }
  const Outcome more = run({"mask", "from-drift", path("layernorm-drift/drift.safetensors"), "--top_k", "40",
                            "--output_file", path("more.mask")});
  BOOST_TEST(contains(more.err, "8 of the 40 elements have the score 0"), more.err);
}

BOOST_AUTO_TEST_CASE(finetune_moves_exactly_the_elements_of_a_mask) {
  const std::string file = mask("mask", {"from-fisher", fisher_file(), "--top_k", "25"});
  const Outcome outcome = run({"finetune", model, "--task_name", "rte", "--glue_dir", glue,
                               "--max_seq_length", "32", "--method", "mask", "--mask", file, "--max_steps",
                               "5", "--learning_rate", "1e-2", "--output_dir", output, "--json"});
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.json()["trainable_parameters"] == 25 + 2 * 8 + 2);
  const SafetensorsFile before(fs::path(model) / "model.safetensors"),
      after(fs::path(output) / "model.safetensors");
  std::map<std::string, std::vector<int64_t>> changed, chosen;
  for (const std::string& name : before.names()) {
    const std::vector<float> old_values = before.read(name).to_vector<float>(),
                             new_values = after.read(name).to_vector<float>();
    for (size_t i = 0; i < old_values.size(); ++i) {
      if (old_values[i] != new_values[i]) changed[name].push_back(static_cast<int64_t>(i));
    }
  }
  for (const MaskedTensor& masked : read_mask(file).tensors) chosen[masked.name] = masked.indices;
  BOOST_CHECK(changed == chosen);
}

BOOST_AUTO_TEST_CASE(mask_mistakes) {
  const std::string scores = fisher_file(), file = path("mask");
  check_refused(run({"mask"}), 2, "from-fisher, from-drift, random");
  check_refused(run({"mask", "from-fihser", scores}), 2, "the nearest is from-fisher");
  check_refused(run({"mask", "from-fisher"}), 2, "expected a file, found none");
  check_refused(run({"mask", "from-fisher", scores, "--output_file", file}), 2,
                "either --top_k or --top_share");
  check_refused(
      run({"mask", "from-fisher", scores, "--top_k", "1", "--top_share", "0.5", "--output_file", file}), 2,
      "found both");
  check_refused(run({"mask", "from-fisher", scores, "--top_k", "1"}), 2, "output_file");
  check_refused(run({"mask", "from-fisher", scores, "--top_share", "1.5", "--output_file", file}), 2,
                "top_share");
  check_refused(run({"mask", "from-fisher", scores, "--top_k", "1000000", "--output_file", file}), 2,
                "at most the");
  check_refused(run({"mask", "from-fisher", scores, "--top_k", "1", "--scope", "x*", "--output_file", file}),
                2, "--scope");
  check_refused(run({"mask", "from-fisher", path("nowhere"), "--top_k", "1", "--output_file", file}), 3,
                "nowhere");
  check_refused(run({"mask", "random", path("nowhere"), "--top_k", "1", "--output_file", file}), 3,
                "nowhere");
  check_refused(run({"mask", "random", model, "--top_k", "1", "--lowest", "--output_file", file}), 2,
                "--lowest");
  check_refused(run({"mask", "union", scores, "--output_file", file}), 3, "a mask holds NAME.indices only");
  check_refused(run({"mask", "union", scores, "--top_k", "3", "--output_file", file}), 2,
                "--top_k: mask union");
  check_refused(run({"mask", "overlap", scores}), 2, "at least two masks");
  check_refused(run({"mask", "from-fisher", scores, "--top_k", "1", "--output_file", glue}), 7, "glue");
}

BOOST_AUTO_TEST_CASE(fisher_guards_its_output_folder) {
  const std::string scores = fisher_file();
  const std::string bytes = read_text(scores), output_dir = fs::path(scores).parent_path().string();
  check_refused(fisher({"--output_dir", output_dir, "--num_samples", "3"}), 2, "--overwrite_output_dir");
  BOOST_CHECK(read_text(scores) == bytes);
  BOOST_TEST(fisher({"--output_dir", output_dir, "--num_samples", "3", "--overwrite_output_dir"}).exit_code ==
             0);
  BOOST_CHECK(read_text(scores) != bytes);
}

BOOST_AUTO_TEST_CASE(a_mask_replaces_nothing_that_it_is_made_of) {
  const std::string scores = fisher_file(), bytes = read_text(scores);
  check_refused(run({"mask", "from-fisher", scores, "--top_k", "10", "--output_file", scores}), 2,
                "is a file that is read");
  BOOST_CHECK(read_text(scores) == bytes);
  const std::string weights = model + "/model.safetensors", old_weights = read_text(weights);
  check_refused(run({"mask", "random", model, "--top_k", "10", "--output_file", weights}), 2,
                "lies in " + model + ", which is read");
  BOOST_CHECK(read_text(weights) == old_weights);
  const std::string a = mask("a", {"random", model, "--top_k", "10"});
  check_refused(run({"mask", "union", a, "--output_file", a}), 2, "is a file that is read");
}

/// An index means another element in another model.
BOOST_AUTO_TEST_CASE(masks_of_other_models) {
  const std::string own = mask("own", {"random", model, "--top_k", "10"});
  const auto finetune = [&](const std::string& file) {
    return run({"finetune", model, "--task_name", "rte", "--glue_dir", glue, "--max_seq_length", "32",
                "--method", "mask", "--mask", file, "--max_steps", "1", "--output_dir", output,
                "--overwrite_output_dir"});
  };
  BOOST_TEST(!contains(finetune(own).err, "SHA-256"));
  write_tiny_model(path("other-model"), {.constant_logits = {0, 1}});
  const std::string other = mask("other", {"random", path("other-model"), "--top_k", "10"});
  for (const char* action : {"union", "intersection"}) {
    check_refused(run({"mask", action, own, other, "--output_file", path("both")}), 3,
                  other + ": was made for weights with SHA-256 ");
  }
  BOOST_TEST(!fs::exists(path("both")));
  const Outcome outcome = finetune(other);
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(contains(outcome.err, "warning: " + other + ": the mask was made for weights with SHA-256 "),
             outcome.err);
  BOOST_TEST(contains(outcome.err, model + " has "), outcome.err);
}

BOOST_AUTO_TEST_CASE(help_lists_every_promised_option) {
  const auto lists = [](const std::string& command, const std::vector<std::string>& promised) {
    const std::string help = run_normtune({command, "--help"}).out;
    for (const std::string& option : promised) {
      BOOST_TEST(contains(help, "  --" + option + " "), command + " " + option);
    }
  };
  lists("fisher", {"model_name_or_path", "task_name", "glue_dir", "split", "num_samples", "expected",
                   "init_seed", "fresh_pooler", "output_dir", "overwrite_output_dir", "json"});
  lists("mask", {"top_k", "top_share", "lowest", "scope", "seed", "output_file", "output_dir"});
}

BOOST_AUTO_TEST_SUITE_END()
