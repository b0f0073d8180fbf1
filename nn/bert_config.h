#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/backend.h"

namespace normtune {

/// A BERT model's config.json; fields are named as its keys.
struct BertConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t intermediate_size = 0;
  int64_t max_position_embeddings = 0;
  int64_t type_vocab_size = 0;

  Activation hidden_act = Activation::gelu;  // gelu, gelu_tanh or relu
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  std::optional<double> classifier_dropout;  // nothing: hidden_dropout_prob
  double initializer_range = 0.02;
  double layer_norm_eps = 1e-12;
  int64_t pad_token_id = 0;  // its word embedding gets no gradient; -1 for null: there is none

  std::vector<std::string> id2label;  // names of the classes; empty if the file has none
  std::string problem_type;           // "regression", "single_label_classification" or empty
  std::string torch_dtype;            // of the stored weights ("float32"), as the file says it; may be empty

  /// The document as read, so that unknown keys are written back.
  std::string raw_json = "{}";

  /// The number of class names, else 2.
  int64_t num_labels() const;
  /// A model with one label is a regression (a problem_type that says otherwise is refused).
  bool is_regression() const;
  /// hidden_size / num_attention_heads
  int64_t head_size() const { return hidden_size / num_attention_heads; }
};

/// Reads `path`, a config.json or the folder that holds it. Throws Error(ErrorKind::model) naming file and
/// key if a required key is missing, a value is out of range, or the model is none that we compute
/// (position_embedding_type, model_type, hidden_act, multi-label, decoder, pruned heads).
BertConfig read_bert_config(const std::filesystem::path& path);

/// The text of config.json for a model of this `architecture` ("BertForSequenceClassification"): the document
/// as read, with our fields over it, sorted keys and two spaces of indentation. For sequence classification
/// also id2label, label2id and problem_type.
std::string bert_config_json(const BertConfig& config, std::string_view architecture);

}  // namespace normtune
