#include "nn/adapterhub_folder.h"

#include <nlohmann/json.hpp>

#include "nn/atomic_file.h"
#include "nn/json_file.h"
#include "nn/tensor_file.h"
#include "tests/file_helpers.h"
#include "tests/nn/tensor_helpers.h"

using namespace normtune;
using namespace normtune::testing;
using nlohmann::json;

namespace {

const std::string down = "bert.encoder.layer.1.output.adapters.rte.adapter_down.0";

/// A copy of a recorded folder, to be changed.
struct AdapterHubCopy {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "adapter";
  std::filesystem::path config_path = path / "adapter_config.json";

  explicit AdapterHubCopy(const std::string& name = "double") {
    std::filesystem::copy(recorded("formats/adapterhub_" + name), path,
                          std::filesystem::copy_options::recursive);
  }
  json config() const { return read_json_file(config_path, ErrorKind::model); }
  void set(const char* key, const json& value, bool inside = true) const {
    json changed = config();
    (inside ? changed["config"] : changed)[key] = value;
    write_json_file(config_path, changed);
  }
  void replace(const char* file, const std::string& name, const Tensor& tensor) const {
    std::vector<NamedTensor> tensors = read_tensor_file(path / file);
    std::erase_if(tensors, [&](const NamedTensor& named) { return named.name == name; });
    if (tensor.defined()) tensors.push_back({name, tensor});
    write_safetensors(path / file, tensors);
  }
  void check_refused(std::string_view expected) const {
    check_error(ErrorKind::model, expected, [&] { read_adapterhub_folder(path); });
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(adapterhub_folder)

BOOST_AUTO_TEST_CASE(reads_the_two_forms_of_the_library) {
  const AdapterHubDelta seq = read_adapterhub_folder(recorded("formats/adapterhub_seq"));  // .bin
  BOOST_TEST(seq.name == "rte");
  BOOST_TEST(seq.hidden_size == 8);
  BOOST_TEST(seq.bottleneck_size == 2);  // floor(8 / 3)
  BOOST_TEST(!seq.mh_adapter);
  BOOST_TEST(seq.output_adapter);
  BOOST_TEST(seq.non_linearity == "relu");
  BOOST_TEST(seq.original_ln_before);
  BOOST_TEST(seq.init_weights == "bert");
  BOOST_TEST(seq.tensors.size() == 8u);
  BOOST_TEST(seq.head.size() == 2u);
  BOOST_TEST(seq.labels == (std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"}));

  const AdapterHubDelta two = read_adapterhub_folder(recorded("formats/adapterhub_double"));
  BOOST_TEST(two.mh_adapter);
  BOOST_TEST(two.non_linearity == "swish");
  BOOST_TEST(!two.original_ln_before);
  BOOST_TEST(two.tensors.size() == 16u);
  BOOST_TEST(two.tensors[0].name == "bert.encoder.layer.0.attention.output.adapters.rte.adapter_down.0.bias");
  BOOST_CHECK(two.tensors[1].tensor.shape() == (Shape{2, 8}));
}

BOOST_AUTO_TEST_CASE(what_was_written_reads_the_same) {
  for (const char* name : {"formats/adapterhub_seq", "formats/adapterhub_double"}) {
    const TemporaryFolder folder;
    AdapterHubDelta delta = read_adapterhub_folder(recorded(name));
    delta.labels = {"no", "yes", "maybe"};
    delta.model_name = "base";
    delta.scaling = 0.5;
    delta.init_weights = "houlsby";
    write_adapterhub_folder(folder / "a", delta);
    const AdapterHubDelta again = read_adapterhub_folder(folder / "a");
    BOOST_TEST(again.name == delta.name);
    BOOST_TEST(again.model_name == "base");
    BOOST_TEST(again.bottleneck_size == delta.bottleneck_size);
    BOOST_TEST(again.mh_adapter == delta.mh_adapter);
    BOOST_TEST(again.non_linearity == delta.non_linearity);
    BOOST_TEST(again.original_ln_before == delta.original_ln_before);
    BOOST_TEST(again.scaling == 0.5);
    BOOST_TEST(again.init_weights == "houlsby");
    BOOST_TEST(again.labels == delta.labels);
    BOOST_CHECK(equal_bits(again.tensors, delta.tensors));
    BOOST_CHECK(equal_bits(again.head, delta.head));
  }
}

BOOST_AUTO_TEST_CASE(every_bottleneck_size_survives) {
  struct NoSync : FileCalls {  // many small files
    int fsync(int) override { return 0; }
  } calls;
  const FileCallsGuard guard(calls);
  const TemporaryFolder folder;
  for (const int64_t hidden_size : {1, 7, 60, 384}) {
    for (int64_t size = 1; size <= hidden_size; size += hidden_size > 60 ? 17 : 1) {
      AdapterHubDelta delta{.name = "x", .hidden_size = hidden_size, .bottleneck_size = size};
      const std::string place = "bert.encoder.layer.0.output.adapters.x.";
      delta.tensors = {{place + "adapter_down.0.weight", counting({size, hidden_size})},
                       {place + "adapter_down.0.bias", counting({size})},
                       {place + "adapter_up.weight", counting({hidden_size, size})},
                       {place + "adapter_up.bias", counting({hidden_size})}};
      write_adapterhub_folder(folder.path(), delta);
      BOOST_TEST(read_adapterhub_folder(folder.path()).bottleneck_size == size);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_folder_may_lack_a_head) {
  const TemporaryFolder folder;
  AdapterHubDelta delta = read_adapterhub_folder(recorded("formats/adapterhub_seq"));
  delta.head.clear();
  write_adapterhub_folder(folder / "a", delta);
  BOOST_TEST(read_adapterhub_folder(folder / "a").head.empty());
  BOOST_TEST(!std::filesystem::exists(folder / "a/head_config.json"));
}

BOOST_AUTO_TEST_CASE(variants_that_we_do_not_compute_are_refused) {
  const auto refuse = [](const char* key, const json& value, const std::string& expected) {
    const AdapterHubCopy copy;
    copy.set(key, value);
    copy.check_refused(copy.config_path.string() + ": config: " + key + ": " + expected);
  };
  refuse("original_ln_after", false, "expected true, found 'false'");
  refuse("residual_before_ln", false, "expected true, found 'false'");
  refuse("residual_before_ln", "post_add", "expected true, found '\"post_add\"'");
  for (const char* key : {"adapter_residual_before_ln", "ln_before", "ln_after", "is_parallel", "use_gating",
                          "phm_layer", "cross_adapter"}) {
    refuse(key, true, "expected false, found 'true'");
  }
  refuse("inv_adapter", "nice", "invertible adapters are not supported");
  refuse("leave_out", {0}, "adapters in some layers only are not supported");
  refuse("stochastic_depth", 0.5, "expected 0, found 0.5");
  refuse("scaling", "learned", "expected a number");
  refuse("non_linearity", "leakyrelu", "expected relu, gelu or swish, found 'leakyrelu'");
  refuse("reduction_factor", {{"1", 4}}, "expected a number");
  refuse("reduction_factor", 0, "expected a number");
  refuse("architecture", "lora", "expected a bottleneck adapter, found '\"lora\"'");
  refuse("mh_adapter", 1, "expected true or false, found '1'");
}

BOOST_AUTO_TEST_CASE(malformed_configs_are_refused) {
  const AdapterHubCopy copy;
  copy.set("model_type", "roberta", false);
  copy.check_refused("adapter_config.json: model_type: expected bert, found 'roberta'");
  copy.set("model_type", "bert", false);
  copy.set("name", nullptr, false);
  copy.check_refused("adapter_config.json: name is missing");
  copy.set("name", "rte", false);
  copy.set("config", "seq_bn", false);
  copy.check_refused("adapter_config.json: config: expected a JSON object, found string");
  check_error(ErrorKind::model, "expected an adapter_config.json of AdapterHub",
              [] { read_adapterhub_folder(recorded("formats/lora")); });
  const AdapterHubCopy none;
  none.set("mh_adapter", false);
  none.set("output_adapter", false);
  none.check_refused("output_adapter: expected true here or for mh_adapter");
}

BOOST_AUTO_TEST_CASE(incomplete_or_surplus_tensors_are_refused) {
  const char* file = "adapter.safetensors";
  const auto refuse = [&](const std::string& name, const Tensor& tensor, const std::string& expected) {
    const AdapterHubCopy copy;
    copy.replace(file, name, tensor);
    copy.check_refused((copy.path / file).string() + ": " + expected);
  };
  refuse(down + ".weight", {}, "tensor '" + down + ".weight' is missing");
  refuse(down + ".weight", counting({8, 2}),
         "tensor '" + down + ".weight': expected shape [2, 8], found float32 [8, 2]");
  refuse(down + ".bias", Tensor::from_values<int32_t>({2}, std::vector<int32_t>{1, 2}),
         "tensor '" + down + ".bias': expected shape [2], found int32 [2]");
  refuse("bert.encoder.layer.1.output.adapters.other.adapter_up.bias", counting({8}),
         "tensor 'bert.encoder.layer.1.output.adapters.other.adapter_up.bias' belongs to no adapter");
  refuse("bert.encoder.layer.2.output.adapters.rte.adapter_up.bias", counting({8}),
         "tensor 'bert.encoder.layer.2.attention.output.adapters.rte.adapter_down.0.weight' is missing");
  const AdapterHubCopy copy;
  write_safetensors(copy.path / file, {});
  copy.check_refused("holds no adapter 'rte'");
  std::filesystem::remove(copy.path / file);
  copy.check_refused("has none of adapter.safetensors, pytorch_adapter.bin");
}

BOOST_AUTO_TEST_CASE(malformed_heads_are_refused) {
  const char* file = "model_head.safetensors";
  const AdapterHubCopy copy;
  copy.replace(file, "classifier.weight", counting({3, 7}));
  copy.check_refused("tensor 'classifier.weight': expected shape [3, 8], found float32 [3, 7]");
  copy.replace(file, "classifier.weight", Tensor());
  copy.check_refused("expected the tensors classifier.weight and classifier.bias, found 'classifier.bias'");
  std::filesystem::remove(copy.path / file);
  copy.check_refused("there is neither model_head.safetensors nor pytorch_model_head.bin beside it");
  std::filesystem::remove(copy.path / "head_config.json");
  BOOST_TEST(read_adapterhub_folder(copy.path).head.empty());

  const auto refuse = [](const char* key, const json& value, const std::string& expected) {
    const AdapterHubCopy changed;
    json config = read_json_file(changed.path / "head_config.json", ErrorKind::model);
    config[key] = value;
    write_json_file(changed.path / "head_config.json", config);
    changed.check_refused(expected);
  };
  refuse("config", {{"head_type", "classification"}}, "config: flexible heads are not supported");
  refuse("label2id", {{"a", 0}, {"b", 2}, {"c", 1}, {"d", 1}},
         "label2id: expected the ids 0 to 3, each once");
  refuse("label2id", {{"a", 1}}, "label2id: expected the ids 0 to 0, each once");
  refuse("label2id", {{"a", "0"}}, "label2id: 'a' has no integer");
  refuse("label2id", {{"a", 0}, {"b", 1}}, "tensor 'classifier.bias': expected shape [2], found float32 [3]");
}

BOOST_AUTO_TEST_CASE(corrupted_folders_give_a_value_or_an_error) {
  const AdapterHubCopy copy;
  const auto read = [&] { read_adapterhub_folder(copy.path); };
  for (const char* file : {"adapter_config.json", "head_config.json", "model_head.safetensors"}) {
    const std::string bytes = read_bytes(copy.path / file);
    BOOST_TEST(corrupt(bytes, copy.path / file, read) > static_cast<int64_t>(bytes.size()), file);
    write_bytes(copy.path / file, bytes);
  }
}

BOOST_AUTO_TEST_SUITE_END()
