#include "nn/checkpoint.h"

#include <nlohmann/json.hpp>

#include "nn/json_file.h"
#include "nn/sha256.h"
#include "tests/file_helpers.h"
#include "tests/nn/tensor_helpers.h"

using namespace normtune;
using namespace normtune::testing;
using nlohmann::json;

namespace {

struct CheckpointFolder {
  TemporaryFolder folder;

  void write(const std::vector<NamedTensor>& tensors, const char* file = "model.safetensors") const {
    write_safetensors(folder / file, tensors);
  }
  StateDict read() const { return read_state_dict(folder.path()); }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const NamedTensor& named : read().tensors) names.push_back(named.name);
    return names;
  }
  void check_refused(std::string_view expected) const {
    check_error(ErrorKind::model, expected, [&] { read(); });
    check_error(ErrorKind::model, folder.path().string(), [&] { read(); });
  }
};

using Names = std::vector<std::string>;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(checkpoint, CheckpointFolder)

BOOST_AUTO_TEST_CASE(names_of_today_stay) {
  write({{"classifier.bias", counting({2})}, {"bert.pooler.dense.bias", counting({3}, 5)}});
  const StateDict state = read();
  BOOST_TEST(names() == (Names{"bert.pooler.dense.bias", "classifier.bias"}));
  BOOST_TEST(state.source.filename().string() == "model.safetensors");
  BOOST_TEST(state.ignored.empty());
  BOOST_CHECK(equal_bits(*state.find("bert.pooler.dense.bias"), counting({3}, 5)));
  BOOST_TEST(state.find("bert.pooler.dense") == nullptr);
}

BOOST_AUTO_TEST_CASE(gamma_and_beta_are_renamed_in_a_layer_norm_only) {
  write({{"bert.embeddings.LayerNorm.gamma", counting({2})},
         {"bert.embeddings.LayerNorm.beta", counting({2})},
         {"bert.encoder.layer.0.output.LayerNorm.gamma", counting({2})},
         {"bert.other.gamma", counting({2})},
         {"bert.NotALayerNorm.beta", counting({2})},
         {"bert.LayerNorm.gamma.deeper", counting({2})}});
  BOOST_TEST(names() == (Names{"bert.LayerNorm.gamma.deeper", "bert.NotALayerNorm.beta",
                               "bert.embeddings.LayerNorm.bias", "bert.embeddings.LayerNorm.weight",
                               "bert.encoder.layer.0.output.LayerNorm.weight", "bert.other.gamma"}));
}

BOOST_AUTO_TEST_CASE(a_bare_encoder_gets_its_prefix) {
  write({{"embeddings.LayerNorm.gamma", counting({2})},
         {"encoder.layer.1.output.dense.bias", counting({2})},
         {"pooler.dense.bias", counting({2})},
         {"classifier.bias", counting({2})}});
  BOOST_TEST(names() == (Names{"bert.embeddings.LayerNorm.weight", "bert.encoder.layer.1.output.dense.bias",
                               "bert.pooler.dense.bias", "classifier.bias"}));
}

BOOST_AUTO_TEST_CASE(the_prefix_of_data_parallel_models_is_stripped) {
  write({{"module.bert.pooler.dense.bias", counting({2})},
         {"module.encoder.layer.0.output.LayerNorm.beta", counting({2})}});
  BOOST_TEST(names() == (Names{"bert.encoder.layer.0.output.LayerNorm.bias", "bert.pooler.dense.bias"}));
}

BOOST_AUTO_TEST_CASE(id_buffers_are_dropped_and_told) {
  write({{"embeddings.position_ids", Tensor::from_values<int64_t>({1, 2}, std::vector<int64_t>{0, 1})},
         {"bert.embeddings.token_type_ids", Tensor::from_values<int64_t>({1, 2}, std::vector<int64_t>{0, 0})},
         {"pooler.dense.bias", counting({2})}});
  BOOST_TEST(names() == Names{"bert.pooler.dense.bias"});
  BOOST_TEST(read().ignored == (Names{"bert.embeddings.token_type_ids", "embeddings.position_ids"}));
}

BOOST_AUTO_TEST_CASE(one_parameter_under_two_names_is_refused) {
  write({{"bert.pooler.dense.bias", counting({2})}, {"pooler.dense.bias", counting({2})}});
  check_refused("tensors 'bert.pooler.dense.bias' and 'pooler.dense.bias' are the same parameter");
}

BOOST_AUTO_TEST_CASE(a_decoder_is_tied_to_the_word_embeddings) {
  const std::string words = "bert.embeddings.word_embeddings.weight", bias = "cls.predictions.bias";
  write({{words, counting({3, 2})}, {bias, counting({3})}});
  BOOST_TEST(names() == (Names{words, bias}));

  write({{words, counting({3, 2})},
         {bias, counting({3})},
         {"cls.predictions.decoder.weight", counting({3, 2})},
         {"cls.predictions.decoder.bias", counting({3})}});
  BOOST_TEST(names() == (Names{words, bias}));
  BOOST_TEST(read().ignored == (Names{"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}));

  write({{words, counting({3, 2})},
         {bias, counting({3})},
         {"cls.predictions.decoder.weight", counting({3, 2}, 1)}});
  check_refused("cls.predictions.decoder.weight differs from bert.embeddings.word_embeddings.weight");
  write({{words, counting({3, 2})}, {bias, counting({3})}, {"cls.predictions.decoder.bias", counting({4})}});
  check_refused("cls.predictions.decoder.bias differs from cls.predictions.bias");

  write({{words, counting({3, 2})}, {"cls.predictions.decoder.bias", counting({3}, 7)}});
  BOOST_CHECK(equal_bits(*read().find(bias), counting({3}, 7)));  // the only copy takes the name
}

BOOST_AUTO_TEST_CASE(containers_are_looked_for_in_order) {
  check_refused(
      "has none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, "
      "pytorch_model.bin.index.json");
  check_error(ErrorKind::model, "there is no such folder", [&] { read_state_dict(folder / "none"); });
  std::filesystem::copy(recorded("formats/tiny_legacy.bin"), folder / "pytorch_model.bin");
  BOOST_TEST(names() == Names{"w"});
  write({{"pooler.dense.bias", counting({2})}});
  BOOST_TEST(names() == Names{"bert.pooler.dense.bias"});
}

BOOST_AUTO_TEST_CASE(shards_are_joined) {
  write({{"a", counting({2})}, {"b", counting({2})}}, "model-1.safetensors");
  write({{"c", counting({2}, 3)}}, "model-2.safetensors");
  const auto index = folder / "model.safetensors.index.json";
  const json map{{"a", "model-1.safetensors"}, {"b", "model-1.safetensors"}, {"c", "model-2.safetensors"}};
  const auto with = [&](const char* tensor, const json& file) {
    json changed = map;
    changed[tensor] = file;
    write_json_file(index, {{"metadata", {{"total_size", 24}}}, {"weight_map", changed}});
  };
  with("a", "model-1.safetensors");
  BOOST_TEST(names() == (Names{"a", "b", "c"}));
  BOOST_CHECK(equal_bits(*read().find("c"), counting({2}, 3)));
  BOOST_TEST(read().source.filename().string() == "model.safetensors.index.json");

  with("d", "model-2.safetensors");
  check_refused("model-2.safetensors: tensor 'd' is missing, which model.safetensors.index.json lists");
  with("c", "model-1.safetensors");
  check_refused("model-1.safetensors: tensor 'c' is missing");
  with("d", "model-3.safetensors");
  check_refused("model-3.safetensors: No such file or directory");
  for (const char* name : {"../model-1.safetensors", "/etc/passwd", "..", "", "a/b"}) {
    with("a", name);
    check_refused("weight_map: tensor 'a': expected the name of a file beside it, found");
  }
  with("a", 3);
  check_refused("weight_map: tensor 'a': expected the name of a file beside it, found '3'");
  write_json_file(index, {{"weight_map", {{"a", "model-1.safetensors"}}}});
  check_refused(
      "model-1.safetensors: tensor 'b' is not listed for this file in model.safetensors.index.json");
  write_json_file(index, {{"weight_map", 3}});
  check_refused("weight_map: expected an object, found number");
  write_json_file(index, json::object());
  check_refused("weight_map is missing");
}

BOOST_AUTO_TEST_CASE(shards_may_be_pytorch_files) {
  std::filesystem::copy(recorded("formats/tiny_zip.bin"), folder / "part.bin");
  write_json_file(folder / "pytorch_model.bin.index.json", {{"weight_map", {{"w", "part.bin"}}}});
  BOOST_TEST(names() == Names{"w"});
}

BOOST_AUTO_TEST_CASE(a_report_draws_layers_together) {
  LoadReport report;
  report.loaded = {"a", "b", "c"};
  report.fresh = {"classifier.weight", "classifier.bias"};
  for (const char* layer : {"0", "1", "2", "10", "5"}) {
    report.surplus.push_back(std::string("bert.encoder.layer.") + layer + ".output.dense.bias");
  }
  report.missing = {"bert.encoder.layer.3.output.dense.bias"};
  BOOST_TEST(to_text(report) ==
             "loaded 3 tensors\n"
             "  missing (1): bert.encoder.layer.3.output.dense.bias\n"
             "  not used (5): bert.encoder.layer.{0-2,5,10}.output.dense.bias\n"
             "  freshly initialised (2): classifier.bias, classifier.weight\n");
  BOOST_TEST(to_text(LoadReport{}) == "loaded 0 tensors\n");
}

BOOST_AUTO_TEST_CASE(a_folder_is_written_in_float32) {
  const auto target = folder / "new/model";
  write_model_folder(
      target, "{}\n",
      {{"b", Tensor::from_values<double>({2}, std::vector<double>{1.5, 0.1})}, {"a", counting({2})}});
  const StateDict state = read_state_dict(target);
  BOOST_TEST(state.tensors.size() == 2u);
  BOOST_CHECK(equal_bits(*state.find("b"), Tensor::from_values<float>({2}, std::vector<float>{1.5F, 0.1F})));
  BOOST_TEST(read_bytes(target / "config.json") == "{}\n");
  BOOST_CHECK_THROW(
      write_model_folder(target, "{}", {{"a", Tensor::from_values<int32_t>({1}, std::vector<int32_t>{1})}}),
      std::invalid_argument);
  write_bytes(folder / "file", "x");
  check_error(ErrorKind::write, "cannot make the folder",
              [&] { write_model_folder(folder / "file/m", "{}", {}); });
}

BOOST_AUTO_TEST_CASE(tokenizer_files_are_copied) {
  const auto from = folder / "from", to = folder / "to";
  check_error(ErrorKind::model, "there is no such folder", [&] { copy_tokenizer_files(from, to); });
  write_bytes(from / "tokenizer_config.json", "{}");
  check_error(ErrorKind::model, "has none of vocab.txt, tokenizer.json",
              [&] { copy_tokenizer_files(from, to); });
  write_bytes(from / "vocab.txt", "[PAD]\n");
  write_bytes(from / "other.txt", "x");
  copy_tokenizer_files(from, to);
  copy_tokenizer_files(to, to);
  BOOST_TEST(read_bytes(to / "vocab.txt") == "[PAD]\n");
  BOOST_TEST(read_bytes(to / "tokenizer_config.json") == "{}");
  BOOST_TEST(!std::filesystem::exists(to / "other.txt"));
  BOOST_TEST(!std::filesystem::exists(to / "tokenizer.json"));
}

BOOST_AUTO_TEST_CASE(a_real_checkpoint_is_read) {
  const char* data = std::getenv("NORMTUNE_DATA");
  if (data == nullptr) {
    BOOST_TEST_MESSAGE("NORMTUNE_DATA is not set: the real checkpoint is skipped");
    return;
  }
  const auto model = std::filesystem::path(data) / "models/all-MiniLM-L6-v2";
  BOOST_TEST(sha256_file(model / "model.safetensors", ErrorKind::model) ==
             "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db");
  const StateDict state = read_state_dict(model);
  BOOST_TEST(state.tensors.size() == 103u);
  BOOST_TEST(state.ignored == Names{"embeddings.position_ids"});
  int64_t parameters = 0;
  for (const NamedTensor& named : state.tensors) {
    BOOST_TEST(named.name.starts_with("bert."));
    parameters += named.tensor.numel();
  }
  BOOST_TEST(parameters == 22'713'216);
  // Written again, the values are the same.
  write_model_folder(folder.path(), "{}", state.tensors);
  BOOST_CHECK(equal_bits(read().tensors, state.tensors));
}

BOOST_AUTO_TEST_SUITE_END()
