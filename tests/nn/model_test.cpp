#include "nn/model.h"

#include <boost/test/unit_test.hpp>
#include <map>

#include "nn/adapter.h"
#include "nn/initialization.h"
#include "nn/lora.h"
#include "nn/peft_folder.h"
#include "nn/tensor_file.h"
#include "tests/file_helpers.h"
#include "tests/nn/tensor_helpers.h"

using namespace normtune;
using normtune::testing::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

constexpr const char* config_json = R"({
  "vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 6,
  "max_position_embeddings": 16, "type_vocab_size": 2, "custom_key": [1, 2]
})";

/// A folder with config.json, vocabulary and the weights of a drawn model.
class ModelFolder {
 public:
  explicit ModelFolder(const std::string& config = config_json, uint64_t seed = 1) {
    folder_.write("m/config.json", config);
    folder_.write("m/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf\ng\n");
    Bert bert(read_bert_config(path()), BertHead::classification);
    for (const Parameter& parameter : bert.parameters()) initialize_parameter(parameter, bert.config(), seed);
    tensors_ = plain_tensors(bert);
    write();
  }

  fs::path path() const { return folder_ / "m"; }
  fs::path root() const { return folder_.path(); }
  const TemporaryFolder& folder() const { return folder_; }
  std::vector<NamedTensor>& tensors() { return tensors_; }

  /// Writes what tensors() holds now.
  void write() const { write_safetensors(path() / "model.safetensors", tensors_); }
  void erase(const std::string& name) {
    std::erase_if(tensors_, [&](const NamedTensor& tensor) { return tensor.name == name; });
    write();
  }
  NamedTensor& find(const std::string& name) {
    for (NamedTensor& tensor : tensors_) {
      if (tensor.name == name) return tensor;
    }
    throw std::runtime_error(name);
  }

 private:
  TemporaryFolder folder_;
  std::vector<NamedTensor> tensors_;
};

PackedBatch some_batch() {
  static const std::vector<int32_t> ids = {2, 5, 9, 3, 11, 3}, types = {0, 0, 0, 0, 1, 1};
  const std::vector<TokenizedExample> examples = {{ids, types, 0}};
  return pack(examples);
}

std::vector<float> logits(const Model& model) {
  return model.bert.classify(some_batch(), {}).tensor().to_vector<float>();
}

void check_fails(const fs::path& folder, const LoadOptions& options, ErrorKind kind,
                 const std::string& text) {
  BOOST_CHECK_EXCEPTION(load_model(folder, options), Error, [&](const Error& error) {
    BOOST_TEST_MESSAGE(error.what());
    return error.kind() == kind && std::string(error.what()).find(text) != std::string::npos;
  });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(model)

BOOST_AUTO_TEST_CASE(every_tensor_arrives_and_is_written_back_bit_by_bit) {
  ModelFolder source;
  Model model = load_model(source.path(), {});
  BOOST_TEST(!model.fresh_classifier);
  BOOST_TEST(model.report.loaded.size() == 16u * 2 + 9);
  BOOST_TEST(model.report.fresh.empty());
  save_model(model, source.folder() / "copy");
  const StateDict written = read_state_dict(source.folder() / "copy");
  for (const NamedTensor& tensor : source.tensors()) {
    const Tensor* copy = written.find(tensor.name);
    BOOST_REQUIRE(copy != nullptr);
    BOOST_TEST(normtune::testing::equal_bits(*copy, tensor.tensor), tensor.name);
  }
  const Model again = load_model(source.folder() / "copy", {});
  BOOST_TEST(logits(again) == logits(model), boost::test_tools::per_element());
  BOOST_TEST(again.bert.config().raw_json.find("custom_key") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_classifier_that_does_not_fit_the_task_is_drawn_from_the_seed) {
  ModelFolder source;
  const auto draw = [&](uint64_t seed) {
    Model model = load_model(source.path(), {.label_names = {"x", "y", "z"}, .init_seed = seed});
    BOOST_TEST(model.fresh_classifier);
    BOOST_TEST(model.report.fresh.size() == 2u);
    BOOST_TEST(model.report.surplus.size() == 2u);  // the old classifier
    BOOST_TEST(model.bert.config().id2label == (std::vector<std::string>{"x", "y", "z"}),
               boost::test_tools::per_element());
    return model.bert.parameters().at("classifier.weight").variable.tensor().to_vector<float>();
  };
  BOOST_TEST(draw(5) == draw(5), boost::test_tools::per_element());
  BOOST_TEST((draw(5) != draw(6)));
}

BOOST_AUTO_TEST_CASE(a_classifier_that_fits_is_kept) {
  ModelFolder source;
  const Model model = load_model(source.path(), {.label_names = {"no", "yes"}});
  BOOST_TEST(!model.fresh_classifier);
  BOOST_TEST(logits(model) == logits(load_model(source.path(), {})), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_regression_has_one_label) {
  ModelFolder source;
  const Model model = load_model(source.path(), {.label_names = {"score"}, .regression = true});
  BOOST_TEST(model.bert.config().num_labels() == 1);
  BOOST_TEST(model.bert.config().is_regression());
}

BOOST_AUTO_TEST_CASE(missing_and_malformed_tensors_are_named) {
  {
    ModelFolder source;
    source.erase("bert.encoder.layer.1.output.dense.bias");
    check_fails(source.path(), {}, ErrorKind::model, "bert.encoder.layer.1.output.dense.bias");
  }
  {
    ModelFolder source;
    source.find("bert.encoder.layer.0.output.dense.weight").tensor = Tensor::zeros({8, 5}, DType::float32);
    source.write();
    check_fails(source.path(), {}, ErrorKind::model, "expected shape [8, 6] from config.json, found [8, 5]");
  }
  {
    ModelFolder source;
    source.find("bert.encoder.layer.0.output.dense.bias").tensor = Tensor::zeros({8}, DType::int64);
    source.write();
    check_fails(source.path(), {}, ErrorKind::model, "expected floating-point values, found int64");
  }
}

BOOST_AUTO_TEST_CASE(surplus_tensors_are_named) {
  const Tensor row = Tensor::zeros({8}, DType::float32);
  for (const std::string name : {"bert.foo", "bert.encoder.layer.9.output.dense.bias", "foo",
                                 "classifier.dense.weight", "bert.pooler.dense.scale"}) {
    ModelFolder source;
    source.tensors().push_back({name, row});
    source.write();
    check_fails(source.path(), {}, ErrorKind::model,
                "model.safetensors: tensor '" + name + "' is surplus (1 in all)");
  }
  ModelFolder source;  // weights of more layers than config.json says
  std::string one_layer = config_json;
  one_layer.replace(one_layer.find("\"num_hidden_layers\": 2"), 22, "\"num_hidden_layers\": 1");
  source.folder().write("m/config.json", one_layer);
  check_fails(source.path(), {}, ErrorKind::model, "is surplus (16 in all)");
}

BOOST_AUTO_TEST_CASE(heads_of_other_models_are_left_out_and_told) {
  ModelFolder source;
  for (const char* name : {"cls.predictions.transform.dense.bias", "cls.foo", "qa_outputs.bias"}) {
    source.tensors().push_back({name, Tensor::zeros({8}, DType::float32)});
  }
  source.tensors().push_back({"bert.embeddings.position_ids", Tensor::zeros({1, 8}, DType::int64)});
  source.write();
  BOOST_TEST(load_model(source.path(), {}).report.surplus.size() == 3u);
  check_fails(source.path(), {.head = BertHead::pretraining}, ErrorKind::model, "cls.");
  for (const char* name : {"cls.predictions.transform.dense.bias", "cls.foo"}) source.erase(name);
  const Model pretraining = load_model(source.path(), {.head = BertHead::pretraining});
  BOOST_TEST(pretraining.report.surplus.size() == 3u);  // the classifier and qa_outputs.bias
}

BOOST_AUTO_TEST_CASE(a_missing_pooler_is_drawn_only_when_asked_for) {
  ModelFolder source;
  source.erase("bert.pooler.dense.weight");
  source.erase("bert.pooler.dense.bias");
  check_fails(source.path(), {}, ErrorKind::model, "--fresh_pooler");
  const Model model = load_model(source.path(), {.fresh_pooler = true});
  BOOST_TEST(model.report.fresh.size() == 2u);
  BOOST_TEST(model.report.fresh.front() == "bert.pooler.dense.weight");
}

BOOST_AUTO_TEST_CASE(a_vocabulary_larger_than_the_embedding_is_refused) {
  ModelFolder source;
  source.folder().write("m/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf\ng\nh\n");
  check_fails(source.path(), {}, ErrorKind::model, "13 tokens");
}

BOOST_AUTO_TEST_CASE(a_vocabulary_far_smaller_than_the_embedding_is_told) {
  const auto warnings_with = [](int64_t vocab_size) {
    std::string config = config_json;
    config.replace(config.find("\"vocab_size\": 12"), 16, fmt::format("\"vocab_size\": {}", vocab_size));
    const std::vector<std::string> warnings = load_model(ModelFolder(config).path(), {}).warnings;
    return std::count_if(warnings.begin(), warnings.end(), [](const std::string& warning) {
      return warning.find("the vocabulary has 12 tokens") != std::string::npos;
    });
  };
  BOOST_TEST(warnings_with(128) == 0);  // padded
  BOOST_TEST(warnings_with(140) == 1);
}

BOOST_AUTO_TEST_CASE(random_init_needs_no_weights) {
  ModelFolder source;
  fs::remove(source.path() / "model.safetensors");
  check_fails(source.path(), {}, ErrorKind::model, "model.safetensors");
  const Model model = load_model(source.path(), {.random_init = true, .init_seed = 9});
  BOOST_TEST(model.report.fresh.size() == model.bert.parameters().size());
  const Tensor words = model.bert.parameters().at("bert.embeddings.word_embeddings.weight").variable.tensor();
  for (const float value : words.slice(0, 1).to_vector<float>()) BOOST_TEST(value == 0);  // the padding row
  double squares = 0;
  for (const float value : words.slice(1, 12).to_vector<float>())
    squares += static_cast<double>(value) * value;
  BOOST_CHECK_CLOSE(std::sqrt(squares / 88), 0.02, 30);
  BOOST_TEST(model.bert.parameters()
                 .at("bert.embeddings.LayerNorm.weight")
                 .variable.tensor()
                 .to_vector<float>()[3] == 1);
}

BOOST_AUTO_TEST_CASE(float64_models_compute_with_the_same_weights) {
  ModelFolder source;
  const Model single = load_model(source.path(), {});
  const Model wide = load_model(source.path(), {.dtype = DType::float64});
  const std::vector<double> expected = wide.bert.classify(some_batch(), {}).tensor().to_vector<double>();
  const std::vector<float> found = logits(single);
  for (size_t i = 0; i < found.size(); ++i) BOOST_CHECK_LE(std::abs(found[i] - expected[i]), 1e-6);
}

BOOST_AUTO_TEST_CASE(adapters_travel_in_their_sub_folder) {
  ModelFolder source;
  for (const bool original_ln_before : {false, true}) {
    Model model = load_model(source.path(), {});
    const std::vector<float> base = logits(model);
    model.adapter = AdapterHubDelta{.name = "normtune",
                                    .hidden_size = 8,
                                    .bottleneck_size = 3,
                                    .mh_adapter = !original_ln_before,
                                    .original_ln_before = original_ln_before};
    attach_adapters(model.bert, *model.adapter, 4);
    for (const Parameter& parameter : model.bert.parameters()) {
      if (is_adapter(parameter)) fill_normal(parameter.variable.tensor(), parameter.name, 8, 0.5);
    }
    const fs::path folder = source.folder() / (original_ln_before ? "pfeiffer" : "houlsby");
    save_model(model, folder);
    BOOST_TEST(fs::exists(folder / "adapterhub" / "adapter_config.json"));
    BOOST_TEST(!fs::exists(folder / "adapter_config.json"));
    const Model again = load_model(folder, {});
    BOOST_TEST((logits(again) != base));
    BOOST_TEST(logits(again) == logits(model), boost::test_tools::per_element());
    // The adapter folder alone, over the base that it names.
    AdapterHubDelta delta = read_adapterhub_folder(folder / "adapterhub");
    delta.model_name = source.path().string();
    write_adapterhub_folder(folder.string() + "-delta", delta);
    BOOST_TEST(logits(load_model(folder.string() + "-delta", {})) == logits(model),
               boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(low_rank_updates_are_merged_on_saving_and_load_from_a_peft_folder) {
  ModelFolder source;
  Model model = load_model(source.path(), {});
  LoraDelta settings{.r = 2, .lora_alpha = 6, .base_model_name_or_path = source.path().string()};
  attach_lora(model.bert, settings, 4);
  for (const Parameter& parameter : model.bert.parameters()) {
    if (parameter.component.ends_with("lora_B"))
      fill_normal(parameter.variable.tensor(), parameter.name, 8, 0.5);
  }
  const std::vector<float> unmerged = logits(model);
  save_model(model, source.folder() / "merged");
  write_lora_folder(source.folder() / "peft", extract_lora(model.bert, settings));
  const Model merged = load_model(source.folder() / "merged", {}),
              peft = load_model(source.folder() / "peft", {});
  BOOST_TEST(!peft.fresh_classifier);
  const std::vector<float> from_merged = logits(merged), from_peft = logits(peft);
  for (size_t i = 0; i < unmerged.size(); ++i) {
    BOOST_CHECK_LE(std::abs(from_merged[i] - unmerged[i]), 1e-5);
    BOOST_TEST(from_peft[i] == from_merged[i]);
  }
  // What the update does not touch is written as it came.
  const StateDict written = read_state_dict(source.folder() / "merged");
  const std::string frozen = "bert.encoder.layer.0.attention.self.key.weight";
  BOOST_TEST(normtune::testing::equal_bits(*written.find(frozen), source.find(frozen).tensor));
}

BOOST_AUTO_TEST_CASE(a_trained_pooler_loads_from_a_peft_folder) {
  ModelFolder source;
  Model model = load_model(source.path(), {});
  LoraDelta settings{.r = 2, .base_model_name_or_path = source.path().string()};
  attach_lora(model.bert, settings, 4);
  LoraDelta delta = extract_lora(model.bert, settings);
  delta.modules_to_save.push_back("pooler");
  for (const std::string name : {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}) {
    const Tensor tensor = model.bert.parameters().at(name).variable.tensor();
    fill_normal(tensor, name, 8, 0.5);
    delta.tensors.push_back({name, tensor});
  }
  write_lora_folder(source.folder() / "peft", delta);
  BOOST_TEST(logits(load_model(source.folder() / "peft", {})) == logits(model),
             boost::test_tools::per_element());
  source.erase("bert.pooler.dense.weight");  // as a masked-language model is saved
  source.erase("bert.pooler.dense.bias");
  const Model over_bare = load_model(source.folder() / "peft", {});
  BOOST_TEST(logits(over_bare) == logits(model), boost::test_tools::per_element());
  BOOST_TEST(over_bare.report.fresh.empty());
}

BOOST_AUTO_TEST_CASE(a_peft_folder_with_every_bias_gives_the_librarys_logits) {
  const fs::path folder = normtune::testing::recorded("formats/lora_all");
  const std::vector<int32_t> ids = {2, 5, 9, 3}, types = {0, 0, 0, 0};
  const std::vector<TokenizedExample> examples = {{ids, types, 0}};
  const std::vector<float> expected =
      read_tensor_file(folder / "expected.safetensors")[0].tensor.to_vector<float>();
  const std::vector<float> found =
      load_model(folder, {}).bert.classify(pack(examples), {}).tensor().to_vector<float>();
  BOOST_REQUIRE_EQUAL(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) BOOST_CHECK_LE(std::abs(found[i] - expected[i]), 5e-5);
}

BOOST_AUTO_TEST_CASE(a_delta_whose_base_is_not_there_says_so) {
  ModelFolder source;
  LnTuningDelta delta{.targets = {.modules = {"LayerNorm"}, .regex = ""},
                      .base_model_name_or_path = "nowhere"};
  for (NamedTensor& tensor : source.tensors()) {
    if (tensor.name.find("LayerNorm") != std::string::npos || tensor.name.starts_with("classifier")) {
      delta.tensors.push_back(tensor);
    }
  }
  write_ln_tuning_folder(source.folder() / "delta", delta);
  check_fails(source.folder() / "delta", {}, ErrorKind::model, "nowhere");
  delta.base_model_name_or_path = "../m";  // beside the delta
  write_ln_tuning_folder(source.folder() / "delta", delta);
  BOOST_TEST(logits(load_model(source.folder() / "delta", {})) == logits(load_model(source.path(), {})),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
