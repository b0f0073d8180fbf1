#include "experiments/method.h"

#include <boost/test/unit_test.hpp>
#include <filesystem>

#include "nn/adapter.h"
#include "nn/initialization.h"
#include "nn/lora.h"
#include "nn/mask_file.h"

using namespace normtune;

namespace {

BertConfig config_of(int64_t vocab_size, int64_t hidden_size, int64_t layers, int64_t heads,
                     int64_t intermediate_size) {
  BertConfig config;
  config.vocab_size = vocab_size;
  config.hidden_size = hidden_size;
  config.num_hidden_layers = layers;
  config.num_attention_heads = heads;
  config.intermediate_size = intermediate_size;
  config.max_position_embeddings = 512;
  config.type_vocab_size = 2;
  return config;
}

BertConfig bert_large_cased() {
  return config_of(28996, 1024, 24, 16, 4096);
}
BertConfig small_config() {
  return config_of(50, 12, 3, 2, 20);
}

int64_t count(const BertConfig& config, const MethodOptions& options) {
  Bert model(config, BertHead::classification);
  return trainable_elements(apply_method(model, options, 1));
}

int64_t count(const BertConfig& config, const std::string& method) {
  return count(config, MethodOptions{.method = method});
}

std::vector<std::string> trained_names(const MethodOptions& options) {
  Bert model(small_config(), BertHead::classification);
  std::vector<std::string> names;
  for (const TrainableTensor& tensor : apply_method(model, options, 1)) names.push_back(tensor.name);
  return names;
}

bool is_error(const Error& error, ErrorKind kind, const std::string& text) {
  BOOST_TEST_MESSAGE(error.what());
  return error.kind() == kind && std::string(error.what()).find(text) != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(method)

BOOST_AUTO_TEST_CASE(published_counts_on_bert_large_cased) {
  Bert model(bert_large_cased(), BertHead::classification);
  BOOST_TEST(model.parameters().numel() == 333581314);
  BOOST_TEST(model.parameters().size() == 393u);
  const auto count = [&](const std::string& method) {
    return trainable_elements(apply_method(model, {.method = method}, 1));
  };
  BOOST_TEST(count("full") == 333581314);
  BOOST_TEST(count("head") == 2050);
  BOOST_TEST(count("layernorm") == 51202);
  BOOST_TEST(count("layernorm-attention") == 51202);
  BOOST_TEST(count("layernorm-all") == 102402);
  BOOST_TEST(count("layernorm-bias") == 26626);
  BOOST_TEST(count("layernorm-gain") == 26626);
  BOOST_TEST(count("bitfit") == 274434);
  BOOST_TEST(count("random") == 49152 + 2050);
  BOOST_TEST(count("lora") == 788482);
}

BOOST_AUTO_TEST_CASE(published_counts_on_bert_base) {
  const BertConfig base = config_of(30522, 768, 12, 12, 3072);
  const int64_t head = 768 * 2 + 2;
  BOOST_TEST(count(base, "lora") == 294912 + head);
  BOOST_TEST(count(base, "pfeiffer") == 894528 + head);
  MethodOptions options{.method = "houlsby", .adapter_reduction_factor = 16, .houlsby_layernorm = false};
  BOOST_TEST(count(base, options) == 1789056 + head);
}

BOOST_AUTO_TEST_CASE(sizes_beyond_all_use_are_refused_before_they_take_memory) {
  const auto refuse = [](const MethodOptions& options, const std::string& text) {
    Bert model(small_config(), BertHead::classification);
    BOOST_CHECK_EXCEPTION(apply_method(model, options, 1), Error,
                          [&](const Error& error) { return is_error(error, ErrorKind::usage, text); });
  };
  for (const char* method : {"houlsby", "pfeiffer"}) {
    refuse({.method = method, .adapter_size = 100'000'000}, "--adapter_size: expected at most 80 (4 times");
  }
  refuse({.method = "lora", .lora_r = 13}, "--lora_r: expected at most 12 (the model's hidden_size");
  BOOST_TEST(trained_names({.method = "houlsby", .adapter_size = 80}).size() > 0u);
  BOOST_TEST(trained_names({.method = "lora", .lora_r = 12}).size() > 0u);
}

BOOST_AUTO_TEST_CASE(adapter_sizes) {
  // Two adapters in each of 3 blocks of hidden size 12; 7 LayerNorms.
  const auto adapters = [](int64_t size) { return 3 * 2 * (2 * 12 * size + size + 12); };
  const int64_t head = 26, layer_norms = 7 * 24;
  BOOST_TEST(count(small_config(), "houlsby") == adapters(64) + layer_norms + head);
  MethodOptions options{.method = "houlsby", .houlsby_layernorm = false};
  BOOST_TEST(count(small_config(), options) == adapters(64) + head);
  options.adapter_reduction_factor = 4;
  BOOST_TEST(count(small_config(), options) == adapters(3) + head);
  options.adapter_size = 8;  // a given size wins
  BOOST_TEST(count(small_config(), options) == adapters(8) + head);
}

BOOST_AUTO_TEST_CASE(layernorm_selects_the_post_ffn_layer_norm_alone) {
  const std::vector<std::string> expected = {"bert.encoder.layer.0.output.LayerNorm.weight",
                                             "bert.encoder.layer.0.output.LayerNorm.bias",
                                             "bert.encoder.layer.1.output.LayerNorm.weight",
                                             "bert.encoder.layer.1.output.LayerNorm.bias",
                                             "bert.encoder.layer.2.output.LayerNorm.weight",
                                             "bert.encoder.layer.2.output.LayerNorm.bias",
                                             "classifier.weight",
                                             "classifier.bias"};
  BOOST_TEST(trained_names({.method = "layernorm"}) == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(requires_grad_follows_the_selection) {
  Bert model(small_config(), BertHead::classification);
  const std::vector<TrainableTensor> trainable = apply_method(model, {.method = "bitfit"}, 1);
  for (const Parameter& parameter : model.parameters()) {
    BOOST_TEST(parameter.variable.requires_grad() ==
               (parameter.is_bias || parameter.component == "classifier"));
  }
  for (const TrainableTensor& tensor : trainable) {
    BOOST_TEST(tensor.weight_decay == (tensor.name == "classifier.weight"));
    BOOST_TEST(!tensor.indices.defined());
  }
}

BOOST_AUTO_TEST_CASE(the_pooler_follows_train_pooler) {
  const int64_t pooler = 12 * 12 + 12, head = 12 * 2 + 2;
  const auto with = [](const std::string& method, TrainPooler train_pooler) {
    return count(small_config(), MethodOptions{.method = method, .train_pooler = train_pooler});
  };
  BOOST_TEST(with("head", TrainPooler::automatic) == head);
  BOOST_TEST(with("head", TrainPooler::yes) == head + pooler);
  const int64_t all = count(small_config(), "full");
  BOOST_TEST(with("full", TrainPooler::no) == all - pooler);
  BOOST_TEST(with("bitfit", TrainPooler::automatic) - with("bitfit", TrainPooler::no) == 12);
  BOOST_TEST(with("bitfit", TrainPooler::yes) - with("bitfit", TrainPooler::automatic) == 12 * 12);
  BOOST_TEST(count(small_config(), MethodOptions{.method = "layernorm", .fresh_pooler = true}) ==
             3 * 24 + head + pooler);
  const MethodOptions frozen{.method = "layernorm", .train_pooler = TrainPooler::no, .fresh_pooler = true};
  BOOST_TEST(count(small_config(), frozen) == 3 * 24 + head);
}

BOOST_AUTO_TEST_CASE(random_draws_k_different_elements_from_its_scope) {
  Bert model(small_config(), BertHead::classification);
  MethodOptions options{.method = "random", .random_k = 1000, .mask_seed = 7};
  int64_t drawn = 0;
  for (const TrainableTensor& tensor : apply_method(model, options, 1)) {
    if (tensor.name.starts_with("classifier")) continue;
    BOOST_TEST(tensor.name.starts_with("bert.encoder.layer."));
    const std::vector<int64_t> indices = tensor.indices.to_vector<int64_t>();
    for (size_t i = 1; i < indices.size(); ++i) BOOST_TEST(indices[i - 1] < indices[i]);
    BOOST_TEST(indices.front() >= 0);
    BOOST_TEST(indices.back() < tensor.variable.tensor().numel());
    drawn += tensor.numel();
  }
  BOOST_TEST(drawn == 1000);
}

BOOST_AUTO_TEST_CASE(random_is_seeded_and_uniform_over_tensors) {
  const auto draw = [](uint64_t seed) {
    Bert model(small_config(), BertHead::classification);
    std::vector<int64_t> all;
    MethodOptions options{.method = "random", .random_k = 500, .mask_seed = seed};
    for (const TrainableTensor& tensor : apply_method(model, options, 1)) {
      if (!tensor.indices.defined()) continue;
      for (const int64_t index : tensor.indices.to_vector<int64_t>()) all.push_back(index);
    }
    return all;
  };
  BOOST_TEST(draw(1) == draw(1), boost::test_tools::per_element());
  BOOST_TEST((draw(1) != draw(2)));

  // Of all elements, each tensor gets its share: half of the encoder drawn leaves about half of each matrix.
  Bert model(small_config(), BertHead::classification);
  int64_t encoder = 0;
  for (const Parameter& parameter : model.parameters())
    encoder += parameter.layer >= 0 ? parameter.numel() : 0;
  MethodOptions options{.method = "random", .random_k = encoder / 2};
  for (const TrainableTensor& tensor : apply_method(model, options, 1)) {
    const auto size = static_cast<double>(tensor.variable.tensor().numel());
    if (!tensor.indices.defined() || size < 100) continue;
    BOOST_TEST(std::abs(static_cast<double>(tensor.numel()) / size - 0.5) < 5 * 0.5 / std::sqrt(size),
               tensor.name);
  }
}

BOOST_AUTO_TEST_CASE(random_scopes) {
  Bert model(small_config(), BertHead::classification);
  MethodOptions options{.method = "random", .random_k = 72, .random_scope = "output.LayerNorm"};
  for (const TrainableTensor& tensor : apply_method(model, options, 1)) {
    BOOST_TEST((tensor.name.find(".output.LayerNorm.") != std::string::npos ||
                tensor.name.starts_with("classifier")));
    BOOST_TEST(tensor.name.find("attention.output") == std::string::npos);
  }
  options.random_k = 73;
  BOOST_CHECK_EXCEPTION(apply_method(model, options, 1), Error,
                        [](const Error& error) { return is_error(error, ErrorKind::usage, "72"); });
  options.random_scope = "output.LayerNrm";
  BOOST_CHECK_EXCEPTION(apply_method(model, options, 1), Error, [](const Error& error) {
    return is_error(error, ErrorKind::usage, "output.LayerNorm");
  });
}

BOOST_AUTO_TEST_CASE(mask_files) {
  const auto file = std::filesystem::temp_directory_path() / "normtune_method_test_mask.safetensors";
  Bert model(small_config(), BertHead::classification);
  const auto use = [&](const std::string& name, std::vector<int64_t> indices) {
    write_mask(file, {.origin = {}, .tensors = {{name, std::move(indices)}}});
    return apply_method(model, MethodOptions{.method = "mask", .mask = file}, 1);
  };
  const std::vector<TrainableTensor> trainable = use("bert.pooler.dense.bias", {0, 5, 11});
  BOOST_TEST(trainable.size() == 3u);
  BOOST_TEST(trainable_elements(trainable) == 3 + 26);
  BOOST_CHECK_EXCEPTION(use("bert.pooler.dense.bias", {12}), Error,
                        [](const Error& error) { return is_error(error, ErrorKind::model, "below 12"); });
  BOOST_CHECK_EXCEPTION(use("bert.pooler.dens.bias", {1}), Error,
                        [](const Error& error) { return is_error(error, ErrorKind::model, "no tensor"); });
  BOOST_CHECK_EXCEPTION(use("classifier.bias", {1}), Error,
                        [](const Error& error) { return is_error(error, ErrorKind::model, "head"); });
  std::filesystem::remove(file);
  BOOST_CHECK_EXCEPTION(apply_method(model, MethodOptions{.method = "mask"}, 1), Error,
                        [](const Error& error) { return is_error(error, ErrorKind::usage, "--mask"); });
}

BOOST_AUTO_TEST_CASE(train_params_replaces_the_selection) {
  const std::vector<std::string> expected = {"bert.encoder.layer.1.attention.self.query.weight",
                                             "bert.encoder.layer.1.attention.self.query.bias",
                                             "classifier.weight", "classifier.bias"};
  BOOST_TEST(
      trained_names({.method = "bitfit", .train_params = "bert.encoder.layer.1.*.query.*"}) == expected,
      boost::test_tools::per_element());
  BOOST_CHECK_EXCEPTION(
      trained_names({.train_params = "bert.encoder.*,bert.decoder.*"}), Error,
      [](const Error& error) { return is_error(error, ErrorKind::usage, "bert.decoder.*"); });
}

BOOST_AUTO_TEST_CASE(patterns_match_whole_names) {
  BOOST_TEST(matches_pattern("a.b.weight", "a.*"));
  BOOST_TEST(matches_pattern("a.b.weight", "x,*weight"));
  BOOST_TEST(!matches_pattern("a.b.weight", "b.*"));
  BOOST_TEST(!matches_pattern("a.b.weight", "a.b"));
  BOOST_TEST(!matches_pattern("a.b.weight", ""));
}

BOOST_AUTO_TEST_CASE(unknown_methods_name_the_nearest) {
  BOOST_CHECK_EXCEPTION(check_method_name("layernrm"), Error, [](const Error& error) {
    return is_error(error, ErrorKind::usage, "nearest: layernorm");
  });
  for (const MethodDescription& description : method_descriptions()) check_method_name(description.name);
}

BOOST_AUTO_TEST_CASE(lora_starts_as_the_identity_and_merges) {
  Bert model(small_config(), BertHead::classification, DType::float64);
  for (const Parameter& parameter : model.parameters()) initialize_parameter(parameter, model.config(), 3);
  const std::vector<int32_t> ids = {2, 7, 9, 11, 3}, types = {0, 0, 0, 1, 1};
  const std::vector<TokenizedExample> examples = {{ids, types, 0}};
  const PackedBatch batch = pack(examples);
  const auto logits = [&] { return model.classify(batch, {}).tensor().to_vector<double>(); };
  const std::vector<double> base = logits();
  apply_method(model, {.method = "lora", .lora_r = 3, .lora_target_modules = {"query", "value", "dense"}}, 1);
  BOOST_TEST(logits() == base, boost::test_tools::per_element());

  for (const Parameter& parameter : model.parameters()) {
    if (parameter.component.ends_with("lora_B"))
      fill_normal(parameter.variable.tensor(), parameter.name, 5, 0.3);
  }
  const std::vector<double> unmerged = logits();
  BOOST_TEST((unmerged != base));
  const size_t tensors = model.parameters().size();
  merge_lora(model);
  BOOST_TEST(model.parameters().size() == tensors - 2 * (3 * 5 + 1));
  const std::vector<double> merged = logits();
  for (size_t i = 0; i < merged.size(); ++i) BOOST_CHECK_LE(std::abs(merged[i] - unmerged[i]), 1e-12);
}

BOOST_AUTO_TEST_CASE(adapters_with_zero_up_projections_are_the_base_model) {
  for (const char* method : {"houlsby", "pfeiffer"}) {
    Bert model(small_config(), BertHead::classification, DType::float64);
    for (const Parameter& parameter : model.parameters()) initialize_parameter(parameter, model.config(), 3);
    const std::vector<int32_t> ids = {2, 7, 9, 11, 3}, types = {0, 0, 0, 1, 1};
    const std::vector<TokenizedExample> examples = {{ids, types, 0}};
    const PackedBatch batch = pack(examples);
    const std::vector<double> base = model.classify(batch, {}).tensor().to_vector<double>();
    apply_method(model, {.method = method, .adapter_size = 4}, 1);
    const std::vector<double> drawn = model.classify(batch, {}).tensor().to_vector<double>();
    BOOST_TEST((drawn != base), method);
    for (const Parameter& parameter : model.parameters()) {
      if (is_adapter(parameter) && parameter.component.ends_with("adapter_up")) {
        Tensor(parameter.variable.tensor()).fill(0);
      }
    }
    const std::vector<double> without = model.classify(batch, {}).tensor().to_vector<double>();
    for (size_t i = 0; i < base.size(); ++i) BOOST_CHECK_LE(std::abs(without[i] - base[i]), 1e-12);
    BOOST_CHECK_THROW(apply_method(model, {.method = method}, 1), Error);  // adapters are there already
  }
}

BOOST_AUTO_TEST_SUITE_END()
