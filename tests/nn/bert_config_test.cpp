#include "nn/bert_config.h"

#include <nlohmann/json.hpp>

#include "tests/file_helpers.h"

using namespace normtune;
using namespace normtune::testing;
using nlohmann::json;

namespace {

json minimal() {
  return {{"vocab_size", 30},         {"hidden_size", 12},       {"num_hidden_layers", 2},
          {"num_attention_heads", 3}, {"intermediate_size", 20}, {"max_position_embeddings", 16},
          {"type_vocab_size", 2}};
}

struct ConfigFile {
  TemporaryFolder folder;
  std::filesystem::path path = folder / "config.json";

  BertConfig read(const json& document) const {
    write_bytes(path, document.dump());
    return read_bert_config(folder.path());
  }
  BertConfig read_with(const char* key, const json& value) const {
    json document = minimal();
    document[key] = value;
    return read(document);
  }
  void check_refused(const char* key, const json& value, std::string_view expected) const {
    check_error(ErrorKind::model, fmt::format("{}: {}", path.string(), expected),
                [&] { read_with(key, value); });
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(bert_config, ConfigFile)

BOOST_AUTO_TEST_CASE(absent_keys_have_their_defaults) {
  const BertConfig config = read(minimal());
  BOOST_TEST(config.vocab_size == 30);
  BOOST_TEST(config.hidden_size == 12);
  BOOST_TEST(config.num_hidden_layers == 2);
  BOOST_TEST(config.num_attention_heads == 3);
  BOOST_TEST(config.head_size() == 4);
  BOOST_TEST(config.intermediate_size == 20);
  BOOST_TEST(config.max_position_embeddings == 16);
  BOOST_TEST(config.type_vocab_size == 2);
  BOOST_CHECK(config.hidden_act == Activation::gelu);
  BOOST_TEST(config.hidden_dropout_prob == 0.1);
  BOOST_TEST(config.attention_probs_dropout_prob == 0.1);
  BOOST_TEST(!config.classifier_dropout.has_value());
  BOOST_TEST(config.initializer_range == 0.02);
  BOOST_TEST(config.layer_norm_eps == 1e-12);
  BOOST_TEST(config.pad_token_id == 0);
  BOOST_TEST(config.num_labels() == 2);
  BOOST_TEST(config.id2label.empty());
  BOOST_TEST(config.problem_type == "");
  BOOST_TEST(!config.is_regression());
}

BOOST_AUTO_TEST_CASE(values_are_read) {
  BOOST_CHECK(read_with("hidden_act", "gelu_new").hidden_act == Activation::gelu_tanh);
  BOOST_CHECK(read_with("hidden_act", "gelu_pytorch_tanh").hidden_act == Activation::gelu_tanh);
  BOOST_CHECK(read_with("hidden_act", "relu").hidden_act == Activation::relu);
  BOOST_TEST(read_with("hidden_dropout_prob", 0).hidden_dropout_prob == 0);
  BOOST_TEST(read_with("attention_probs_dropout_prob", 0.25).attention_probs_dropout_prob == 0.25);
  BOOST_TEST(read_with("classifier_dropout", 0.5).classifier_dropout.value() == 0.5);
  BOOST_TEST(!read_with("classifier_dropout", nullptr).classifier_dropout.has_value());
  BOOST_TEST(read_with("layer_norm_eps", 1e-5).layer_norm_eps == 1e-5);
  BOOST_TEST(read_with("initializer_range", 0.1).initializer_range == 0.1);
  BOOST_TEST(read_with("pad_token_id", 3).pad_token_id == 3);
  BOOST_TEST(read_with("pad_token_id", nullptr).pad_token_id == -1);
  BOOST_TEST(read_with("torch_dtype", "float16").torch_dtype == "float16");
  BOOST_TEST(read_with("dtype", "bfloat16").torch_dtype == "bfloat16");
  BOOST_TEST(read_with("model_type", "bert").hidden_size == 12);
}

BOOST_AUTO_TEST_CASE(labels_are_ordered_by_their_number) {
  json labels;
  for (int i = 0; i < 12; ++i) labels[std::to_string(i)] = fmt::format("name {}", i);
  const BertConfig config = read_with("id2label", labels);
  BOOST_TEST(config.num_labels() == 12);
  BOOST_TEST(config.id2label[2] == "name 2");
  BOOST_TEST(config.id2label[11] == "name 11");
  BOOST_TEST(read_with("num_labels", 3).num_labels() == 3);
  BOOST_TEST(read_with("id2label", {{"0", "x"}}).is_regression());
}

BOOST_AUTO_TEST_CASE(the_file_itself_may_be_named) {
  write_bytes(folder / "bert_config.json", minimal().dump());
  BOOST_TEST(read_bert_config(folder / "bert_config.json").hidden_size == 12);
  check_error(ErrorKind::model, "cannot read " + path.string() + ": No such file",
              [&] { read_bert_config(folder.path()); });
}

BOOST_AUTO_TEST_CASE(required_keys_are_required) {
  const json required = minimal();
  for (const auto& [key, unused] : required.items()) {
    json document = minimal();
    document.erase(key);
    check_error(ErrorKind::model, path.string() + ": " + key + " is missing", [&] { read(document); });
    document[key] = nullptr;
    check_error(ErrorKind::model, path.string() + ": " + key + " is missing", [&] { read(document); });
    for (const json& value :
         {json(0), json(-1), json(1.5), json("8"), json(true), json(UINT64_MAX), json(INT64_MAX)}) {
      check_refused(key.c_str(), value, key + ": expected an integer from 1 to 1");
    }
  }
}

BOOST_AUTO_TEST_CASE(values_out_of_range_are_refused) {
  check_refused("hidden_size", 13, "hidden_size: 13 is not a multiple of num_attention_heads 3");
  check_refused("num_hidden_layers", 10'001,
                "num_hidden_layers: expected an integer from 1 to 10000, found '10001'");
  check_refused("hidden_dropout_prob", 1.5,
                "hidden_dropout_prob: expected a number from 0 to 1, found '1.5'");
  check_refused("attention_probs_dropout_prob", -0.1, "attention_probs_dropout_prob: expected a number");
  check_refused("classifier_dropout", "0.1",
                "classifier_dropout: expected a number from 0 to 1, found '\"0.1\"'");
  check_refused("layer_norm_eps", -1, "layer_norm_eps: expected a number");
  check_refused("pad_token_id", 30, "pad_token_id: expected an integer from 0 to 29, found '30'");
  check_refused("pad_token_id", -1, "pad_token_id: expected an integer");
}

BOOST_AUTO_TEST_CASE(other_models_are_refused) {
  check_refused("model_type", "roberta", "model_type: expected bert, found 'roberta'");
  check_refused("position_embedding_type", "relative_key",
                "position_embedding_type: expected absolute, found 'relative_key'");
  check_refused("hidden_act", "swish",
                "hidden_act: expected gelu, gelu_new, gelu_pytorch_tanh or relu, found 'swish'");
  check_refused("hidden_act", 3, "hidden_act: expected a string, found '3'");
  check_refused("is_decoder", true, "is_decoder: a decoder is not supported");
  check_refused("add_cross_attention", true, "add_cross_attention: a decoder is not supported");
  check_refused("pruned_heads", {{"1", {0, 2}}}, "pruned_heads: pruned heads are not supported");
  BOOST_TEST(read_with("pruned_heads", json::object()).hidden_size == 12);
  BOOST_TEST(read_with("is_decoder", false).hidden_size == 12);
}

BOOST_AUTO_TEST_CASE(labels_must_make_sense) {
  check_refused("id2label", json::object(), "id2label: 0 labels");
  check_refused("id2label", {{"0", "a"}, {"2", "b"}}, "id2label: label 1 of 2 is missing");
  check_refused("num_labels", 0, "num_labels: expected an integer");
  check_refused("id2label", {{"0", 1}}, "id2label: 0: expected a string");
  check_refused("id2label", {"a"}, "id2label: expected a JSON object");
  check_refused(
      "problem_type", "multi_label_classification",
      "problem_type: expected regression or single_label_classification, found 'multi_label_classification'");
  check_refused("problem_type", "regression", "problem_type: a regression has 1 label, found 2");
  json document = minimal();
  document["id2label"] = {{"0", "a"}};
  document["problem_type"] = "single_label_classification";
  check_error(ErrorKind::model, "problem_type: a classification has at least 2 labels",
              [&] { read(document); });
  document["num_labels"] = 5;
  check_error(ErrorKind::model, "num_labels: 5, but id2label has 1 labels", [&] { read(document); });
}

BOOST_AUTO_TEST_CASE(a_config_that_is_no_object_is_refused) {
  write_bytes(path, "[1]");
  check_error(ErrorKind::model, path.string() + ": expected a JSON object, found array",
              [&] { read_bert_config(path); });
}

BOOST_AUTO_TEST_CASE(unknown_keys_are_written_back) {
  BertConfig config = read({{"vocab_size", 30},
                            {"hidden_size", 12},
                            {"num_hidden_layers", 2},
                            {"num_attention_heads", 3},
                            {"intermediate_size", 20},
                            {"max_position_embeddings", 16},
                            {"type_vocab_size", 2},
                            {"transformers_version", "4.8.2"},
                            {"hidden_act", "gelu_pytorch_tanh"},
                            {"dtype", "float16"},
                            {"num_labels", 2},
                            {"custom", {{"b", 1}, {"a", {1, 2}}}}});
  config.id2label = {"no", "yes", "maybe"};
  const std::string text = bert_config_json(config, "BertForSequenceClassification");
  const json document = json::parse(text);
  BOOST_TEST(document.at("custom").dump() == R"({"a":[1,2],"b":1})");
  BOOST_TEST(document.at("transformers_version") == "4.8.2");
  BOOST_TEST(document.at("architectures").dump() == R"(["BertForSequenceClassification"])");
  BOOST_TEST(document.at("hidden_act") == "gelu_pytorch_tanh");
  BOOST_TEST(document.at("torch_dtype") == "float32");
  BOOST_TEST(!document.contains("dtype"));
  BOOST_TEST(!document.contains("num_labels"));
  BOOST_TEST(document.at("id2label").dump() == R"({"0":"no","1":"yes","2":"maybe"})");
  BOOST_TEST(document.at("label2id").dump() == R"({"maybe":2,"no":0,"yes":1})");
  BOOST_TEST(document.at("problem_type") == "single_label_classification");
  BOOST_TEST(document.at("classifier_dropout").is_null());
  BOOST_TEST(text.starts_with("{\n  \"architectures\": [\n"));
  BOOST_TEST(text.ends_with("}\n"));
}

BOOST_AUTO_TEST_CASE(what_was_written_reads_the_same) {
  BertConfig config = read(minimal());
  config.hidden_act = Activation::gelu_tanh;
  config.classifier_dropout = 0.3;
  config.layer_norm_eps = 1e-7;
  config.pad_token_id = -1;
  config.id2label = {"score"};
  write_bytes(path, bert_config_json(config, "BertForSequenceClassification"));
  const BertConfig again = read_bert_config(path);
  BOOST_CHECK(again.hidden_act == Activation::gelu_tanh);
  BOOST_TEST(again.classifier_dropout.value() == 0.3);
  BOOST_TEST(again.layer_norm_eps == 1e-7);
  BOOST_TEST(again.pad_token_id == -1);
  BOOST_TEST(again.is_regression());
  BOOST_TEST(again.problem_type == "regression");
}

BOOST_AUTO_TEST_CASE(a_new_model_needs_no_document) {
  BertConfig config;
  config.vocab_size = 30;
  config.hidden_size = 12;
  config.num_hidden_layers = config.num_attention_heads = 2;
  config.intermediate_size = config.max_position_embeddings = config.type_vocab_size = 5;
  const json document = json::parse(bert_config_json(config, "BertForPreTraining"));
  BOOST_TEST(document.at("hidden_act") == "gelu");
  BOOST_TEST(document.at("model_type") == "bert");
  BOOST_TEST(document.at("layer_norm_eps") == 1e-12);
  BOOST_TEST(!document.contains("id2label"));
  BOOST_TEST(!document.contains("problem_type"));
}

BOOST_AUTO_TEST_CASE(published_configs_are_read) {
  const char* data = std::getenv("NORMTUNE_DATA");
  if (data == nullptr) {
    BOOST_TEST_MESSAGE("NORMTUNE_DATA is not set: published configurations are skipped");
    return;
  }
  const std::filesystem::path models = std::filesystem::path(data) / "models";
  BOOST_TEST(read_bert_config(models / "bert-base-uncased").vocab_size == 30522);
  BOOST_TEST(read_bert_config(models / "bert-base-cased").problem_type == "single_label_classification");
  BOOST_TEST(read_bert_config(models / "all-MiniLM-L6-v2").hidden_size == 384);
}

BOOST_AUTO_TEST_CASE(corrupted_files_give_a_value_or_an_error) {
  json document = minimal();
  document["id2label"] = {{"0", "a"}, {"1", "b"}};
  document["hidden_act"] = "gelu";
  const int64_t refused = corrupt(document.dump(), path, [&] { read_bert_config(path); });
  BOOST_TEST(refused > 1000);
}

BOOST_AUTO_TEST_SUITE_END()
