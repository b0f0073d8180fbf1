#include "nn/peft_folder.h"

#include <nlohmann/json.hpp>

#include "nn/adapter_config.h"
#include "nn/json_file.h"
#include "nn/tensor_file.h"
#include "tests/file_helpers.h"
#include "tests/nn/tensor_helpers.h"

using namespace normtune;
using namespace normtune::testing;
using nlohmann::json;

namespace {

const std::string query = "bert.encoder.layer.0.attention.self.query";
const std::string layer_norm_module = "bert.encoder.layer.0.output.LayerNorm";

/// A copy of a recorded folder, to be changed.
struct PeftCopy {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "adapter";
  std::filesystem::path config_path = path / "adapter_config.json";
  std::filesystem::path tensor_path = path / "adapter_model.safetensors";

  explicit PeftCopy(const std::string& name) {
    std::filesystem::copy(recorded("formats/" + name), path, std::filesystem::copy_options::recursive);
  }
  void set(const char* key, const json& value) const {
    json config = read_json_file(config_path, ErrorKind::model);
    config[key] = value;
    write_json_file(config_path, config);
  }
  void erase(const char* key) const {
    json config = read_json_file(config_path, ErrorKind::model);
    config.erase(key);
    write_json_file(config_path, config);
  }
  /// Rewrites the tensors with one of them replaced; an undefined one is left out.
  void replace(const std::string& name, const Tensor& tensor) const {
    std::vector<NamedTensor> tensors = read_tensor_file(tensor_path);
    std::erase_if(tensors, [&](const NamedTensor& named) { return named.name == name; });
    if (tensor.defined()) tensors.push_back({name, tensor});
    write_safetensors(tensor_path, tensors);
  }
};

struct LoraCopy : PeftCopy {
  LoraCopy() : PeftCopy("lora") {}
  void check_refused(std::string_view expected) const {
    check_error(ErrorKind::model, expected, [&] { read_lora_folder(path); });
  }
};

struct LnTuningCopy : PeftCopy {
  LnTuningCopy() : PeftCopy("ln_tuning") {}
  void check_refused(std::string_view expected) const {
    check_error(ErrorKind::model, expected, [&] { read_ln_tuning_folder(path); });
  }
};

const Tensor* find(const std::vector<NamedTensor>& tensors, const std::string& name) {
  for (const NamedTensor& named : tensors) {
    if (named.name == name) return &named.tensor;
  }
  return nullptr;
}

/// A recorded folder's tensors under the names of the file.
std::vector<NamedTensor> stored(const std::filesystem::path& folder) {
  return read_tensor_file(folder / "adapter_model.safetensors");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(peft_folder)

BOOST_AUTO_TEST_CASE(reads_a_lora_folder_of_the_library) {
  const LoraDelta delta = read_lora_folder(recorded("formats/lora"));
  BOOST_TEST(delta.r == 2);
  BOOST_TEST(delta.lora_alpha == 6);
  BOOST_TEST(delta.scaling() == 3);
  BOOST_TEST(delta.lora_dropout == 0.25);
  BOOST_TEST(delta.bias == "lora_only");
  BOOST_TEST(delta.base_model_name_or_path == "base");
  BOOST_TEST(delta.targets.modules == (std::vector<std::string>{"query", "value"}));
  BOOST_TEST(delta.modules_to_save == std::vector<std::string>{"classifier"});
  BOOST_TEST(delta.tensors.size() == 14u);  // 4 modules of A, B and bias, and the classifier
  BOOST_CHECK(find(delta.tensors, query + ".lora_A.weight")->shape() == (Shape{2, 8}));
  BOOST_CHECK(find(delta.tensors, query + ".lora_B.weight")->shape() == (Shape{8, 2}));
  BOOST_CHECK(find(delta.tensors, query + ".bias")->shape() == (Shape{8}));
  BOOST_CHECK(find(delta.tensors, "classifier.weight")->shape() == (Shape{3, 8}));
}

BOOST_AUTO_TEST_CASE(writes_the_tensors_that_the_library_wrote) {
  const TemporaryFolder folder;
  write_lora_folder(folder / "lora", read_lora_folder(recorded("formats/lora")));
  BOOST_CHECK(equal_bits(stored(folder / "lora"), stored(recorded("formats/lora"))));
  write_ln_tuning_folder(folder / "ln", read_ln_tuning_folder(recorded("formats/ln_tuning")));
  BOOST_CHECK(equal_bits(stored(folder / "ln"), stored(recorded("formats/ln_tuning"))));
}

BOOST_AUTO_TEST_CASE(writes_only_long_standing_keys) {
  const TemporaryFolder folder;
  write_lora_folder(folder / "lora", read_lora_folder(recorded("formats/lora")));
  const json config = read_json_file(folder / "lora/adapter_config.json", ErrorKind::model);
  const json expected{{"auto_mapping", nullptr},
                      {"base_model_name_or_path", "base"},
                      {"inference_mode", true},
                      {"modules_to_save", {"classifier"}},
                      {"peft_type", "LORA"},
                      {"revision", nullptr},
                      {"target_modules", {"query", "value"}},
                      {"task_type", "SEQ_CLS"},
                      {"r", 2},
                      {"lora_alpha", 6},
                      {"lora_dropout", 0.25},
                      {"bias", "lora_only"},
                      {"fan_in_fan_out", false},
                      {"init_lora_weights", true},
                      {"layers_to_transform", nullptr},
                      {"layers_pattern", nullptr},
                      {"rank_pattern", json::object()},
                      {"alpha_pattern", json::object()},
                      {"use_rslora", false}};
  BOOST_TEST(config.dump() == expected.dump());

  LnTuningDelta delta = read_ln_tuning_folder(recorded("formats/ln_tuning"));
  write_ln_tuning_folder(folder / "ln", delta);
  const json ln_config = read_json_file(folder / "ln/adapter_config.json", ErrorKind::model);
  BOOST_TEST(ln_config.size() == 8u);
  BOOST_TEST(ln_config.at("target_modules") == R"(bert\.encoder\.layer\.\d+\.output\.LayerNorm)");
}

BOOST_AUTO_TEST_CASE(float64_is_written_as_float32) {
  const TemporaryFolder folder;
  LoraDelta delta = read_lora_folder(recorded("formats/lora"));
  for (NamedTensor& named : delta.tensors) named.tensor = named.tensor.to(DType::float64);
  write_lora_folder(folder / "lora", delta);
  BOOST_CHECK(equal_bits(stored(folder / "lora"), stored(recorded("formats/lora"))));
}

BOOST_AUTO_TEST_CASE(settings_have_the_librarys_defaults) {
  const LoraCopy copy;
  for (const char* key : {"lora_alpha", "lora_dropout", "target_modules", "use_rslora", "init_lora_weights"})
    copy.erase(key);
  const LoraDelta delta = read_lora_folder(copy.path);
  BOOST_TEST(delta.lora_alpha == 8);
  BOOST_TEST(delta.lora_dropout == 0);
  BOOST_TEST(delta.targets.modules == (std::vector<std::string>{"query", "value"}));
  copy.set("use_rslora", true);
  BOOST_TEST(std::abs(read_lora_folder(copy.path).scaling() - 8 / std::sqrt(2.0)) <= 1e-15);
}

BOOST_AUTO_TEST_CASE(pytorch_tensors_and_other_bias_names_are_read) {
  const LoraCopy copy;
  const std::string stored_name = "base_model.model." + query + ".base_layer.bias";
  const Tensor bias = read_tensor_file(copy.tensor_path)[0].tensor;
  copy.replace(stored_name, Tensor());
  copy.replace("base_model.model." + query + ".bias", counting({8}));
  BOOST_CHECK(equal_bits(*find(read_lora_folder(copy.path).tensors, query + ".bias"), counting({8})));

  std::filesystem::remove(copy.tensor_path);
  copy.check_refused("has none of adapter_model.safetensors, adapter_model.bin");
  std::filesystem::copy(recorded("formats/tiny_zip.bin"), copy.path / "adapter_model.bin");
  copy.check_refused("adapter_model.bin: tensor 'w': expected a name that begins with base_model.model.");
}

BOOST_AUTO_TEST_CASE(variants_that_we_do_not_compute_are_refused) {
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, json>>{{"use_dora", true},
                                                 {"rank_pattern", {{"query", 4}}},
                                                 {"alpha_pattern", {{"query", 4}}},
                                                 {"layers_to_transform", {0}},
                                                 {"layers_to_transform", 0},
                                                 {"exclude_modules", {"value"}},
                                                 {"loftq_config", {{"loftq_bits", 4}}},
                                                 {"use_qalora", true},
                                                 {"lora_bias", true},
                                                 {"fan_in_fan_out", true},
                                                 {"target_parameters", {"x"}}}) {
    const LoraCopy copy;
    copy.set(key, value);
    copy.check_refused(copy.config_path.string() + ": " + key + ": this variant is not supported, found");
  }
  const LoraCopy copy;
  copy.set("init_lora_weights", "pissa");
  copy.check_refused("init_lora_weights: 'pissa' changes the base weights");
  copy.set("init_lora_weights", "gaussian");
  BOOST_TEST(read_lora_folder(copy.path).r == 2);
}

BOOST_AUTO_TEST_CASE(malformed_settings_are_refused) {
  const auto refuse = [](const char* key, const json& value, const std::string& expected) {
    const LoraCopy copy;
    copy.set(key, value);
    copy.check_refused("adapter_config.json: " + expected);
  };
  refuse("r", 0, "r: expected an integer from 1");
  refuse("r", "8", "r: expected an integer from 1");
  refuse("lora_alpha", "x", "lora_alpha: expected a number");
  refuse("lora_dropout", 2, "lora_dropout: expected a number from 0 to 1");
  refuse("bias", "some", "bias: expected none, all or lora_only, found 'some'");
  refuse("target_modules", 3, "target_modules: expected a list of strings, found '3'");
  refuse("target_modules", json::array({1}), "target_modules: expected a list of strings");
  refuse("target_modules", "(query",
         "target_modules: '(query' is not a regular expression that we understand");
  refuse("peft_type", "IA3", "peft_type: expected LORA or LN_TUNING, found 'IA3'");
  refuse("peft_type", nullptr, "expected \"peft_type\" (PEFT) or \"config\" and \"version\" (AdapterHub)");
}

BOOST_AUTO_TEST_CASE(incomplete_or_surplus_tensors_are_refused) {
  const std::string prefix = "base_model.model.";
  const auto refuse = [&](const std::string& name, const Tensor& tensor, const std::string& expected) {
    const LoraCopy copy;
    copy.replace(prefix + name, tensor);
    copy.check_refused(copy.tensor_path.string() + ": " + expected);
  };
  refuse(query + ".lora_B.weight", {}, "tensor 'base_model.model." + query + ".lora_B.weight' is missing");
  refuse(query + ".lora_A.weight", {}, "tensor 'base_model.model." + query + ".lora_A.weight' is missing");
  refuse("classifier.bias", {},
         "tensor 'base_model.model.classifier.bias' is missing, modules_to_save lists 'classifier'");
  refuse(query + ".lora_A.weight", counting({3, 8}),
         "tensor '" + query + ".lora_A.weight': expected [r, in], found shape [3, 8] (r is 2");
  refuse(query + ".lora_B.weight", counting({8}),
         "tensor '" + query + ".lora_B.weight': expected [out, r], found shape [8]");
  refuse("bert.pooler.dense.weight", counting({8, 8}),
         "tensor 'bert.pooler.dense.weight' belongs to no module");
  refuse(query + ".lora_embedding_A", counting({8, 8}),
         "tensor '" + query + ".lora_embedding_A' belongs to no module");
  refuse("classifier.bias", Tensor::from_values<int32_t>({1}, std::vector<int32_t>{1}),
         "tensor 'classifier.bias': expected a floating-point dtype, found int32");

  const LoraCopy copy;
  copy.set("target_modules", {"query", "value", "key"});
  copy.check_refused("no tensors for target module 'key'");
  copy.set("target_modules", {"query", "value"});
  copy.set("bias", "none");
  copy.check_refused("belongs to no module that adapter_config.json names");
}

BOOST_AUTO_TEST_CASE(a_module_is_saved_with_all_that_it_holds) {
  const std::vector<NamedTensor> pooler = {{"bert.pooler.dense.bias", counting({8})},
                                           {"bert.pooler.dense.weight", counting({8, 8})}};
  const auto add_pooler = [&](auto delta) {
    delta.modules_to_save.push_back("pooler");
    delta.tensors.insert(delta.tensors.end(), pooler.begin(), pooler.end());
    return delta;
  };
  const TemporaryFolder folder;
  write_lora_folder(folder / "lora", add_pooler(read_lora_folder(recorded("formats/lora"))));
  write_ln_tuning_folder(folder / "ln", add_pooler(read_ln_tuning_folder(recorded("formats/ln_tuning"))));
  for (const std::vector<NamedTensor>& tensors :
       {read_lora_folder(folder / "lora").tensors, read_ln_tuning_folder(folder / "ln").tensors}) {
    for (const NamedTensor& expected : pooler) {
      const Tensor* found = find(tensors, expected.name);
      BOOST_CHECK(found != nullptr && equal_bits(*found, expected.tensor));
    }
  }

  const LoraCopy copy;
  copy.set("modules_to_save", {"classifier", "pooler"});
  copy.check_refused("tensor 'base_model.model.pooler.weight' is missing, modules_to_save lists 'pooler'");
  copy.replace("base_model.model.bert.pooler.dense.weight", counting({8, 8}));
  copy.check_refused("tensor 'base_model.model.bert.pooler.dense.bias' is missing");
}

BOOST_AUTO_TEST_CASE(the_librarys_copies_of_a_saved_module_are_left_out) {
  const LoraDelta delta = read_lora_folder(recorded("formats/lora_all"));
  BOOST_TEST(delta.bias == "all");
  BOOST_TEST(delta.modules_to_save == (std::vector<std::string>{"pooler", "classifier"}));
  // 6 modules of A and B; 18 biases of embeddings, blocks and pooler; the pooler's weight; the classifier
  BOOST_TEST(delta.tensors.size() == 12u + 18 + 1 + 2);
  const LoraCopy copy;
  copy.replace("base_model.model.bert.pooler.original_module.dense.weight", counting({8, 8}));
  copy.check_refused("tensor 'bert.pooler.original_module.dense.weight' belongs to no module");
}

BOOST_AUTO_TEST_CASE(targets_match_whole_segments) {
  const PeftTargets list{.modules = {"query", "output.dense"}, .regex = ""};
  BOOST_TEST(list.match(query));
  BOOST_TEST(list.match("query"));
  BOOST_TEST(!list.match("bert.subquery"));
  BOOST_TEST(!list.match("bert.query.x"));
  BOOST_TEST(list.match("bert.encoder.layer.0.attention.output.dense"));
  const PeftTargets regex{.modules = {}, .regex = R"(bert\.encoder\.layer\.\d+\.output\.LayerNorm)"};
  BOOST_TEST(regex.match(layer_norm_module));
  BOOST_TEST(!regex.match("bert.encoder.layer.0.attention.output.LayerNorm"));
  BOOST_TEST(!regex.match("x." + layer_norm_module));
}

BOOST_AUTO_TEST_CASE(reads_a_ln_tuning_folder_of_the_library) {
  const LnTuningDelta delta = read_ln_tuning_folder(recorded("formats/ln_tuning"));
  BOOST_TEST(delta.targets.regex == R"(bert\.encoder\.layer\.\d+\.output\.LayerNorm)");
  BOOST_TEST(delta.base_model_name_or_path == "base");
  BOOST_TEST(delta.tensors.size() == 6u);
  BOOST_CHECK(find(delta.tensors, layer_norm_module + ".weight")->shape() == (Shape{8}));
  BOOST_CHECK(find(delta.tensors, "classifier.bias")->shape() == (Shape{3}));
}

BOOST_AUTO_TEST_CASE(broken_ln_tuning_folders_are_refused) {
  const LnTuningCopy copy;
  copy.replace("base_model.model." + layer_norm_module + ".ln_tuning_layers.bias", Tensor());
  copy.check_refused("bias of LayerNorm '" + layer_norm_module + "' is missing");
  copy.replace("base_model.model." + layer_norm_module + ".ln_tuning_layers.bias", counting({8}));
  copy.replace("base_model.model." + layer_norm_module + ".weight", counting({8}));
  copy.check_refused("tensor '" + layer_norm_module + ".weight' belongs to no module");
  const LnTuningCopy without_targets;
  without_targets.set("target_modules", nullptr);
  without_targets.check_refused("target_modules is missing");
  check_error(ErrorKind::model, "expected an adapter_config.json with \"peft_type\": \"LN_TUNING\"",
              [] { read_ln_tuning_folder(recorded("formats/lora")); });
  check_error(ErrorKind::model, "expected an adapter_config.json with \"peft_type\": \"LORA\"",
              [] { read_lora_folder(recorded("formats/ln_tuning")); });
  check_error(ErrorKind::model, "expected an adapter_config.json with \"peft_type\": \"LORA\"",
              [] { read_lora_folder(recorded("formats/adapterhub_seq")); });
  check_error(ErrorKind::model, "expected an adapter_config.json",
              [] { read_lora_folder(recorded("formats")); });
}

BOOST_AUTO_TEST_CASE(a_tensor_that_no_target_covers_is_not_written) {
  const TemporaryFolder folder;
  LnTuningDelta delta = read_ln_tuning_folder(recorded("formats/ln_tuning"));
  delta.tensors.push_back({"bert.embeddings.LayerNorm.weight", counting({8})});
  BOOST_CHECK_THROW(write_ln_tuning_folder(folder.path(), delta), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(folders_are_told_apart) {
  BOOST_CHECK(adapter_folder_kind(recorded("formats/lora")) == AdapterFolder::peft_lora);
  BOOST_CHECK(adapter_folder_kind(recorded("formats/ln_tuning")) == AdapterFolder::peft_ln_tuning);
  BOOST_CHECK(adapter_folder_kind(recorded("formats/adapterhub_seq")) == AdapterFolder::adapterhub);
  BOOST_CHECK(!adapter_folder_kind(recorded("formats")));
}

BOOST_AUTO_TEST_CASE(corrupted_folders_give_a_value_or_an_error) {
  const LnTuningCopy copy;
  const auto read = [&] { read_ln_tuning_folder(copy.path); };
  const std::string tensors = read_bytes(copy.tensor_path);
  BOOST_TEST(corrupt(tensors, copy.tensor_path, read) > 1000);
  write_bytes(copy.tensor_path, tensors);
  BOOST_TEST(corrupt(read_bytes(copy.config_path), copy.config_path, read) > 1000);
}

BOOST_AUTO_TEST_SUITE_END()
