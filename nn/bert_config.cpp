#include "nn/bert_config.h"

#include <array>
#include <nlohmann/json.hpp>

#include "nn/json_fields.h"
#include "nn/json_file.h"
#include "nn/printable.h"

namespace normtune {
namespace {

using nlohmann::json;

/// No BERT comes near; larger sizes would only fail later, for want of memory.
constexpr int64_t max_size = 1'000'000'000;
constexpr int64_t max_layers = 10'000;
constexpr int64_t max_labels = 1'000'000;

struct NamedActivation {
  std::string_view name;
  Activation activation;
};

/// The first name of an activation is the one we write.
constexpr std::array<NamedActivation, 4> activations{{
    {"gelu", Activation::gelu},
    {"gelu_new", Activation::gelu_tanh},
    {"gelu_pytorch_tanh", Activation::gelu_tanh},
    {"relu", Activation::relu},
}};

Activation read_activation(const JsonFields& fields) {
  const std::string name = fields.text_or("hidden_act", "gelu");
  for (const NamedActivation& known : activations) {
    if (known.name == name) return known.activation;
  }
  fields.refuse("hidden_act", "expected gelu, gelu_new, gelu_pytorch_tanh or relu, found {}",
                printable(name));
}

std::string_view name_of(Activation activation) {
  for (const NamedActivation& known : activations) {
    if (known.activation == activation) return known.name;
  }
  throw std::invalid_argument("bert_config: this activation has no name in config.json");
}

void read_sizes(const JsonFields& fields, BertConfig& config) {
  config.vocab_size = fields.integer("vocab_size", 1, max_size);
  config.hidden_size = fields.integer("hidden_size", 1, max_size);
  config.num_hidden_layers = fields.integer("num_hidden_layers", 1, max_layers);
  config.num_attention_heads = fields.integer("num_attention_heads", 1, max_size);
  config.intermediate_size = fields.integer("intermediate_size", 1, max_size);
  config.max_position_embeddings = fields.integer("max_position_embeddings", 1, max_size);
  config.type_vocab_size = fields.integer("type_vocab_size", 1, max_size);
  if (config.hidden_size % config.num_attention_heads != 0) {
    fields.refuse("hidden_size", "{} is not a multiple of num_attention_heads {}", config.hidden_size,
                  config.num_attention_heads);
  }
}

void read_hyperparameters(const JsonFields& fields, const json& document, BertConfig& config) {
  config.hidden_act = read_activation(fields);
  config.hidden_dropout_prob = fields.number_or("hidden_dropout_prob", 0.1, 0, 1);
  config.attention_probs_dropout_prob = fields.number_or("attention_probs_dropout_prob", 0.1, 0, 1);
  if (fields.has("classifier_dropout")) config.classifier_dropout = fields.number("classifier_dropout", 0, 1);
  config.initializer_range = fields.number_or("initializer_range", 0.02, 0, 1e6);
  config.layer_norm_eps = fields.number_or("layer_norm_eps", 1e-12, 0, 1);
  const bool no_padding = document.contains("pad_token_id") && document["pad_token_id"].is_null();
  config.pad_token_id = no_padding ? -1 : fields.integer_or("pad_token_id", 0, 0, config.vocab_size - 1);
}

/// id2label maps "0", "1", ... to names; num_labels, if it is there too, must agree.
std::vector<std::string> read_id2label(const JsonFields& fields) {
  std::vector<std::string> labels;
  if (fields.has("id2label")) {
    const JsonFields names = fields.members("id2label");
    const auto count = static_cast<int64_t>(fields.value("id2label").size());
    if (count < 1 || count > max_labels) fields.refuse("id2label", "{} labels", count);
    for (int64_t i = 0; i < count; ++i) {
      const std::string id = std::to_string(i);
      if (!names.has(id.c_str())) {
        fields.refuse("id2label", "label {} of {} is missing (keys are \"0\", \"1\", ...)", i, count);
      }
      labels.push_back(names.text(id.c_str()));
    }
  }
  const int64_t count = labels.empty() ? 2 : static_cast<int64_t>(labels.size());
  const int64_t num_labels = fields.integer_or("num_labels", count, 1, max_labels);
  if (labels.empty() && fields.has("num_labels")) {
    for (int64_t i = 0; i < num_labels; ++i) labels.push_back(fmt::format("LABEL_{}", i));
  } else if (num_labels != count) {
    fields.refuse("num_labels", "{}, but id2label has {} labels", num_labels, count);
  }
  return labels;
}

std::string read_problem_type(const JsonFields& fields, const BertConfig& config) {
  std::string type = fields.text_or("problem_type", "");
  if (type == "regression") {
    if (config.num_labels() != 1) {
      fields.refuse("problem_type", "a regression has 1 label, found {}", config.num_labels());
    }
  } else if (type == "single_label_classification") {
    if (config.num_labels() < 2)
      fields.refuse("problem_type", "a classification has at least 2 labels, found 1");
  } else if (!type.empty()) {
    fields.refuse("problem_type", "expected regression or single_label_classification, found {}",
                  printable(type));
  }
  return type;
}

/// Variants of BERT that share the file format but compute something else.
void refuse_other_models(const JsonFields& fields) {
  if (const std::string type = fields.text_or("model_type", "bert"); type != "bert") {
    fields.refuse("model_type", "expected bert, found {}", printable(type));
  }
  if (const std::string type = fields.text_or("position_embedding_type", "absolute"); type != "absolute") {
    fields.refuse("position_embedding_type", "expected absolute, found {}", printable(type));
  }
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    if (fields.flag_or(key, false)) fields.refuse(key, "a decoder is not supported, expected false");
  }
  if (fields.has("pruned_heads") && !fields.value("pruned_heads").empty()) {
    fields.refuse("pruned_heads", "pruned heads are not supported");
  }
}

json label_map(const std::vector<std::string>& labels) {
  json map = json::object();
  for (size_t i = 0; i < labels.size(); ++i) map[std::to_string(i)] = labels[i];
  return map;
}

json label_ids(const std::vector<std::string>& labels) {
  json map = json::object();
  for (size_t i = 0; i < labels.size(); ++i) map[labels[i]] = i;
  return map;
}

void write_head(const BertConfig& config, json& document) {
  std::vector<std::string> labels = config.id2label;
  if (labels.empty()) labels = {"LABEL_0", "LABEL_1"};
  document["id2label"] = label_map(labels);
  document["label2id"] = label_ids(labels);
  document["problem_type"] = config.is_regression() ? "regression" : "single_label_classification";
  document.erase("num_labels");
}

void write_activation(const BertConfig& config, json& document) {
  const json& found = document["hidden_act"];
  for (const NamedActivation& known : activations) {  // two names mean gelu_tanh: keep the document's
    if (known.activation == config.hidden_act && found == known.name) return;
  }
  document["hidden_act"] = name_of(config.hidden_act);
}

void write_fields(const BertConfig& config, json& document) {
  document["vocab_size"] = config.vocab_size;
  document["hidden_size"] = config.hidden_size;
  document["num_hidden_layers"] = config.num_hidden_layers;
  document["num_attention_heads"] = config.num_attention_heads;
  document["intermediate_size"] = config.intermediate_size;
  document["max_position_embeddings"] = config.max_position_embeddings;
  document["type_vocab_size"] = config.type_vocab_size;
  write_activation(config, document);
  document["hidden_dropout_prob"] = config.hidden_dropout_prob;
  document["attention_probs_dropout_prob"] = config.attention_probs_dropout_prob;
  document["classifier_dropout"] = config.classifier_dropout ? json(*config.classifier_dropout) : json();
  document["initializer_range"] = config.initializer_range;
  document["layer_norm_eps"] = config.layer_norm_eps;
  document["pad_token_id"] = config.pad_token_id < 0 ? json() : json(config.pad_token_id);
  document["position_embedding_type"] = "absolute";
  document["model_type"] = "bert";
}

}  // namespace

int64_t BertConfig::num_labels() const {
  return id2label.empty() ? 2 : static_cast<int64_t>(id2label.size());
}

bool BertConfig::is_regression() const {
  return num_labels() == 1;
}

BertConfig read_bert_config(const std::filesystem::path& path) {
  std::error_code unused;
  const auto file = std::filesystem::is_directory(path, unused) ? path / "config.json" : path;
  const json document = read_json_file(file, ErrorKind::model);
  const JsonFields fields(document, file.string(), ErrorKind::model);
  refuse_other_models(fields);

  BertConfig config;
  read_sizes(fields, config);
  read_hyperparameters(fields, document, config);
  config.id2label = read_id2label(fields);
  config.problem_type = read_problem_type(fields, config);
  config.torch_dtype = fields.text_or(fields.has("dtype") ? "dtype" : "torch_dtype", "");
  config.raw_json = document.dump();
  return config;
}

std::string bert_config_json(const BertConfig& config, std::string_view architecture) {
  json document = parse_json(config.raw_json, "config.json", ErrorKind::model);
  write_fields(config, document);
  document["architectures"] = {architecture};
  document["torch_dtype"] = "float32";
  document.erase("dtype");  // the newer name of torch_dtype
  if (architecture == "BertForSequenceClassification") write_head(config, document);
  return json_text(document);
}

}  // namespace normtune
