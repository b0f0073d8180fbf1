#include <boost/test/unit_test.hpp>
#include <fstream>

#include "tests/tools/support.h"

using namespace normtune::test;

namespace {

nlohmann::json bert_large_cased() {
  return {{"vocab_size", 28996},       {"hidden_size", 1024},       {"num_hidden_layers", 24},
          {"num_attention_heads", 16}, {"intermediate_size", 4096}, {"max_position_embeddings", 512},
          {"type_vocab_size", 2}};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(inspect)

/// The counts of the LayerNorm paper and of the table of public checkpoints, from config.json alone.
BOOST_AUTO_TEST_CASE(counts_of_bert_large_cased) {
  const TemporaryFolder folder;
  write_text(folder / "config.json", bert_large_cased().dump());
  const auto trainable = [&](std::vector<std::string> options) -> int64_t {
    options.insert(options.begin(), {"inspect", folder.path().string(), "--json"});
    const Outcome outcome = run_normtune(options);
    BOOST_TEST(outcome.exit_code == 0, outcome.err);
    return outcome.json()["trainable_parameters"];
  };
  BOOST_TEST(trainable({}) == 333581314);
  BOOST_TEST(trainable({"--method", "bitfit"}) == 274434);
  BOOST_TEST(trainable({"--method", "layernorm"}) == 51202);
  BOOST_TEST(trainable({"--method", "layernorm-attention"}) == 51202);
  BOOST_TEST(trainable({"--method", "layernorm-all"}) == 102402);
  BOOST_TEST(trainable({"--method", "layernorm-bias"}) == 26626);
  BOOST_TEST(trainable({"--method", "layernorm-gain"}) == 26626);
  BOOST_TEST(trainable({"--method", "head"}) == 2050);
  BOOST_TEST(trainable({"--method", "random"}) == 51202);
  BOOST_TEST(trainable({"--method", "random", "--random_k", "1000"}) == 3050);
  BOOST_TEST(trainable({"--method", "lora"}) == 788482);
  BOOST_TEST(trainable({"--method", "pfeiffer"}) == 3171840 + 2050);
  BOOST_TEST(trainable({"--method", "layernorm", "--train_pooler", "true"}) == 51202 + 1024 * 1025);
  BOOST_TEST(trainable({"--method", "layernorm", "--num_labels", "3"}) == 49152 + 3 * 1025);
  BOOST_TEST(trainable({"--train_params", "*.output.LayerNorm.*"}) == 2 * 49152 + 2050);
}

BOOST_AUTO_TEST_CASE(json_keys) {
  const TemporaryFolder folder;
  write_text(folder / "config.json", bert_large_cased().dump());
  const Outcome outcome =
      run_normtune({"inspect", folder.path().string(), "--method", "layernorm", "--json", "--tensors"});
  BOOST_TEST(outcome.exit_code == 0);
  BOOST_TEST(outcome.err == "");
  const nlohmann::json result = outcome.json();
  BOOST_TEST(result["total_parameters"] == 333581314);
  int64_t tensors = 0, parameters = 0, trainable = 0;
  for (const nlohmann::json& component : result["components"]) {
    tensors += component["tensors"].get<int64_t>();
    parameters += component["parameters"].get<int64_t>();
    trainable += component["trainable"].get<int64_t>();
    const bool moves = component["component"] == "output.LayerNorm" || component["component"] == "classifier";
    BOOST_TEST((component["trainable"] != 0) == moves, component.dump());
  }
  BOOST_TEST(tensors == 393);
  BOOST_TEST(parameters == 333581314);
  BOOST_TEST(trainable == 51202);
  BOOST_TEST(result["tensors"].size() == 393u);
  BOOST_TEST(result["tensors"][0]["tensor"] == "bert.embeddings.word_embeddings.weight");
  BOOST_TEST(result["tensors"][0]["shape"] == nlohmann::json({28996, 1024}));
  BOOST_TEST(result["weights"].is_null());
}

BOOST_AUTO_TEST_CASE(labels_come_from_the_option_or_the_configuration) {
  const TemporaryFolder folder;
  nlohmann::json config = tiny_config();
  config["id2label"] = {{"0", "a"}, {"1", "b"}, {"2", "c"}};
  write_tiny_model(folder.path(), {.config = config, .weights = false});
  BOOST_TEST(run_normtune({"inspect", folder.path().string(), "--json", "--method", "head"})
                 .json()["trainable_parameters"] == 27);
  BOOST_TEST(
      run_normtune({"inspect", folder.path().string(), "--json", "--method", "head", "--num-labels", "1"})
          .json()["trainable_parameters"] == 9);
}

BOOST_AUTO_TEST_CASE(says_whether_weights_are_there) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {.weights = false});
  const Outcome without = run_normtune({"inspect", folder.path().string()});
  BOOST_TEST(without.exit_code == 0);
  BOOST_TEST(contains(without.out, "weights: none found; the counts need config.json only"));
  BOOST_TEST(contains(without.out, "component"));
  write_tiny_model(folder.path());
  const Outcome with = run_normtune({"inspect", folder.path().string()});
  BOOST_TEST(with.exit_code == 0, with.err);
  BOOST_TEST(contains(with.out, "weights: model.safetensors"));
  BOOST_TEST(contains(with.out, "classifier.weight, classifier.bias"));
}

BOOST_AUTO_TEST_CASE(weights_that_do_not_fit_are_errors) {
  const TemporaryFolder folder;
  const auto outcome_after = [&](const std::function<void()>& damage) {
    write_tiny_model(folder.path());
    damage();
    return run_normtune({"inspect", folder.path().string()});
  };
  const std::string weights = folder / "model.safetensors";
  const Outcome truncated =
      outcome_after([&] { std::filesystem::resize_file(weights, std::filesystem::file_size(weights) - 1); });
  BOOST_TEST(truncated.exit_code == 3);
  BOOST_TEST(contains(truncated.last_error_line(), "model.safetensors"));
  const Outcome shape = outcome_after([&] {
    nlohmann::json config = tiny_config();
    config["intermediate_size"] = 13;
    write_text(folder / "config.json", config.dump());
  });
  BOOST_TEST(shape.exit_code == 3);
  BOOST_TEST(contains(shape.last_error_line(),
                      "tensor 'bert.encoder.layer.0.intermediate.dense.weight': expected shape"));
  const Outcome missing = outcome_after([&] {
    nlohmann::json config = tiny_config();
    config["num_hidden_layers"] = 3;
    write_text(folder / "config.json", config.dump());
  });
  BOOST_TEST(missing.exit_code == 3);
  BOOST_TEST(contains(missing.last_error_line(), "bert.encoder.layer.2."));
  const Outcome surplus = outcome_after([&] {
    nlohmann::json config = tiny_config();
    config["num_hidden_layers"] = 1;
    write_text(folder / "config.json", config.dump());
  });
  BOOST_TEST(surplus.exit_code == 3);
  BOOST_TEST(contains(surplus.last_error_line(), "bert.encoder.layer.1."));
}

BOOST_AUTO_TEST_CASE(a_missing_or_malformed_configuration_is_an_error) {
  const TemporaryFolder folder;
  const Outcome missing = run_normtune({"inspect", folder / "none"});
  BOOST_TEST(missing.exit_code == 3);
  BOOST_TEST(missing.last_error_line().starts_with("normtune: error: "));
  BOOST_TEST(missing.out == "");
  write_text(folder / "config.json", "{\"hidden_size\": 8,}");
  BOOST_TEST(run_normtune({"inspect", folder.path().string()}).exit_code == 3);
  BOOST_TEST(run_normtune({"inspect"}).exit_code == 2);
}

BOOST_AUTO_TEST_SUITE_END()
