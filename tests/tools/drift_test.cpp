#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "nn/safetensors.h"
#include "tests/tools/support.h"

using namespace normtune;
using namespace normtune::test;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(drift)

namespace {

/// A model, and a short run from it.
struct TunedModel {
  TemporaryFolder folder;
  std::string model = (folder / "model").string(), run = (folder / "run").string();
  std::string glue = (folder / "glue").string();

  TunedModel() {
    write_tiny_model(model);
    write_tiny_glue(glue);
    const Outcome outcome = run_normtune({"finetune", model, "--task_name", "cola", "--glue_dir", glue,
                                          "--output_dir", run, "--num_train_epochs", "2", "--save_strategy",
                                          "epoch", "--save_total_limit", "9", "--quiet"});
    BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  }
  std::string path(std::string_view name) const { return (folder / name).string(); }
};

/// The shell in the place of Python: what it draws is one file.
void write_script(const fs::path& folder, std::string_view text) {
  write_text(folder / "plot_drift.py", text);
}

Call with_script(std::vector<std::string> arguments, const std::string& tools) {
  return {.arguments = std::move(arguments),
          .environment = {{"NORMTUNE_TOOLS", tools}, {"NORMTUNE_PYTHON", "/bin/sh"}}};
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(json_keys, TunedModel) {
  const Outcome outcome = run_normtune({"drift", model, run, "--json"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  const nlohmann::json document = outcome.json();
  for (const char* list : {"components", "component_parts", "component_layers", "tensors"}) {
    BOOST_TEST(!document[list].empty());
    for (const nlohmann::json& row : document[list]) {
      for (const char* key : {"component", "layer", "part", "elements", "rounding_noise", "mean_abs",
                              "rel_l2", "cosine", "max_abs", "changed", "of_sign_walk", "of_random_walk"}) {
        BOOST_TEST(row.contains(key), list << " " << key);
      }
      BOOST_TEST(row.contains("tensor") == (std::string(list) == "tensors"));
    }
  }
  BOOST_TEST(document["components"][0]["component"] == "embeddings.word_embeddings");
  BOOST_TEST(document["components"][0]["layer"].is_null());
  BOOST_TEST(document["components"][0]["quantiles"].size() == 5u);
  BOOST_TEST(document["only_after"] == nlohmann::json({"classifier.bias", "classifier.weight"}));
  BOOST_TEST(document["only_before"].empty());
  BOOST_TEST(document["step_sizes"]["steps"] == 6);
  BOOST_TEST(document["embedding_rows"].size() == 3u);
  BOOST_TEST(!document.contains("figures"));
}

BOOST_FIXTURE_TEST_CASE(people_get_a_ranked_table, TunedModel) {
  const Outcome outcome = run_normtune({"drift", model, run, "--layers", "--tensors", "--checkpoints",
                                        "--task_name", "cola", "--glue_dir", glue});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  for (const char* text :
       {"6 steps of adamw_torch", "/ sign walk", "(rounding noise)", "word_embeddings, never",
        "(told by: tokens of the training split of cola)", "D at step", "1 output.LayerNorm",
        "bert.encoder.layer.1.output.LayerNorm.weight", "left out: classifier.bias, classifier.weight"}) {
    BOOST_TEST(contains(outcome.out, text), text << " is not in\n" << outcome.out);
  }
}

BOOST_FIXTURE_TEST_CASE(files_and_figures, TunedModel) {
  write_script(path("tools"), "echo \"$1/drift_ranking.svg\"\n");
  const std::string output = path("output");
  const Outcome outcome =
      run_normtune(with_script({"drift", model, run, "--output_dir", output, "--json"}, path("tools")));
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  nlohmann::json document = outcome.json();
  BOOST_TEST(document["figures"] == nlohmann::json({output + "/drift_ranking.svg"}));
  document.erase("figures");
  BOOST_TEST(nlohmann::json::parse(read_text(output + "/drift.json")) == document);
  BOOST_TEST(SafetensorsFile(output + "/drift.safetensors").names().size() == document["tensors"].size());
  const std::string tensors = read_text(output + "/tensors.csv");
  BOOST_TEST(tensors.starts_with("tensor,component,layer,part,elements,rounding_noise,mean_abs,"));
  BOOST_TEST(static_cast<size_t>(std::count(tensors.begin(), tensors.end(), '\n')) ==
             document["tensors"].size() + 1);
  BOOST_TEST(fs::exists(output + "/components.csv"));
  BOOST_TEST(fs::exists(output + "/component_layers.csv"));
}

BOOST_FIXTURE_TEST_CASE(figures_that_cannot_be_drawn_are_no_error, TunedModel) {
  write_script(path("tools"), "echo matplotlib is missing >&2; exit 1\n");
  const std::string output = path("output");
  const Outcome outcome =
      run_normtune(with_script({"drift", model, run, "--output_dir", output}, path("tools")));
  BOOST_TEST(outcome.exit_code == 0);
  BOOST_TEST(contains(outcome.err, "no figures: matplotlib is missing; to draw them later: python3 "));
  const Outcome silent = run_normtune(with_script(
      {"drift", model, run, "--output_dir", output, "--overwrite_output_dir", "--figures", "false"},
      path("tools")));
  BOOST_TEST(silent.exit_code == 0);
  BOOST_TEST(silent.err == "");
}

BOOST_FIXTURE_TEST_CASE(mistakes, TunedModel) {
  const auto refused = [](std::vector<std::string> arguments, int code, std::string_view message) {
    const Outcome outcome = run_normtune(std::move(arguments));
    BOOST_TEST(outcome.exit_code == code, outcome.err);
    BOOST_TEST(contains(outcome.last_error_line(), message), outcome.err);
  };
  refused({"drift", model}, 2, "expected two model folders, BEFORE and AFTER");
  refused({"drift", model, run, model}, 2, "an argument too many");
  refused({"drift", model, path("absent")}, 3, "there is no such folder");
  refused({"drift", model, model, "--checkpoints"}, 3, "has no checkpoint-N/");
  write_text(path("full/file"), "");
  refused({"drift", model, run, "--output_dir", path("full")}, 2,
          "--overwrite_output_dir to replace what an earlier call wrote, or another --output_dir");
  write_text(path("a-file"), "");
  refused({"drift", model, run, "--output_dir", path("a-file"), "--overwrite_output_dir"}, 7, "is a file");
  refused({"drift", model, run, "--task_name", "colla"}, 2, "cola");
  nlohmann::json config = tiny_config();
  config["intermediate_size"] = 24;
  write_tiny_model(path("wide"), {.config = config});
  refused({"drift", model, path("wide")}, 3, "expected two versions of one model");
}

/// Not even as a swapped AFTER: the learning rates of a pre-training led from drawn weights to the model.
BOOST_FIXTURE_TEST_CASE(a_pretraining_from_nothing_began_with_no_model, TunedModel) {
  const Outcome pretraining =
      run_normtune({"pretrain", "--corpus", "pocket", "--max_steps", "2", "--num_hidden_layers", "1",
                    "--hidden_size", "8", "--num_attention_heads", "2", "--intermediate_size", "16",
                    "--max_eval_samples", "8", "--output_dir", path("pretrained"), "--quiet"});
  BOOST_REQUIRE_MESSAGE(pretraining.exit_code == 0, pretraining.err);
  const Outcome outcome = run_normtune({"drift", path("pretrained"), path("pretrained"), "--json"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.json()["step_sizes"]["no_walk_because"] ==
             "the run began with weights drawn at random, not with BEFORE");
}

BOOST_AUTO_TEST_SUITE_END()
