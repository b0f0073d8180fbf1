#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/bert_config.h"
#include "nn/forward_context.h"
#include "nn/linear.h"
#include "nn/packed_batch.h"
#include "nn/parameter.h"

namespace normtune {

/// Token, position and type embeddings, their sum normalized, then dropout.
struct BertEmbeddings {
  Variable word_embeddings;        // [vocab_size, hidden_size]
  Variable position_embeddings;    // [max_position_embeddings, hidden_size]
  Variable token_type_embeddings;  // [type_vocab_size, hidden_size]
  LayerNorm layer_norm;

  Variable forward(const BertConfig& config, const PackedBatch& batch, const ForwardContext& context) const;
};

/// Multi-head self-attention. The weights of query, key and value are thirds of one [3 * hidden_size,
/// hidden_size] storage, so that one product computes all three.
struct BertSelfAttention {
  Linear query, key, value;

  /// hidden_states [total_tokens, hidden_size] -> context [total_tokens, hidden_size]
  Variable forward(const BertConfig& config, int64_t layer, const Variable& hidden_states,
                   const PackedBatch& batch, const ForwardContext& context) const;
  /// The same for the queries of the [CLS] rows alone: query_states [batch_size, hidden_size] -> the same
  /// shape.
  Variable forward_cls(const BertConfig& config, int64_t layer, const Variable& query_states,
                       const Variable& hidden_states, const PackedBatch& batch,
                       const ForwardContext& context) const;
};

/// Where an adapter sits in a block output (formats: AdapterHub's two configurations).
enum class AdapterPlacement {
  before_residual,  ///< LN(f(h) + h + residual), Houlsby: double_seq_bn
  after_norm,       ///< LN(f(LN(h + residual)) + h + residual), Pfeiffer: seq_bn
};

/// The end of both halves of a block: h = dropout(dense(x)); output = LN(h + residual), with an optional
/// adapter.
struct BertOutput {
  Linear dense;
  LayerNorm layer_norm;
  std::optional<Adapter> adapter;
  AdapterPlacement adapter_placement = AdapterPlacement::before_residual;

  /// `dense_output` = dense(x), before dropout.
  Variable forward(const Variable& dense_output, const Variable& residual, double dropout_probability,
                   int32_t dropout_site, const ForwardContext& context, const RowIndex& rows) const;
};

/// One post-norm Transformer block.
struct BertLayer {
  BertSelfAttention attention;
  BertOutput attention_output;
  Linear intermediate;
  BertOutput output;

  Variable forward(const BertConfig& config, int64_t layer, const Variable& hidden_states,
                   const PackedBatch& batch, const ForwardContext& context) const;
  /// The block's output for the [CLS] rows alone, [batch_size, hidden_size]: equal to those rows of
  /// forward(), without the work on the others.
  Variable forward_cls(const BertConfig& config, int64_t layer, const Variable& hidden_states,
                       const PackedBatch& batch, const ForwardContext& context) const;

 private:
  Variable after_attention(const BertConfig& config, int64_t layer, const Variable& context_layer,
                           const Variable& residual, const ForwardContext& context,
                           const RowIndex& rows) const;
};

/// A linear layer of a model and its place.
struct LinearModule {
  std::string path;  ///< "bert.encoder.layer.0.attention.self.query"
  Linear* linear = nullptr;
  int32_t lora_dropout_site = 0;
};

/// What stands on the encoder.
enum class BertHead {
  classification,  ///< pooler and classifier (also regression, with one label)
  pretraining,     ///< pooler, masked-language-model head with tied decoder, next-sentence head
};

/// BERT (Devlin et al. 2018, arXiv:1810.04805) on packed batches, with the parameter names of Hugging Face.
///
///   Bert model(config, BertHead::classification);
///   load_parameters(model, read_state_dict(folder), ...);
///   Variable logits = model.classify(batch, {.training = false});
class Bert {
 public:
  /// All parameters frozen and zero (LayerNorm gains 1) until they are loaded or initialised.
  Bert(BertConfig config, BertHead head, DType dtype = DType::float32, Device device = {});

  const BertConfig& config() const { return config_; }
  BertHead head() const { return head_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  ParameterList& parameters() { return parameters_; }
  const ParameterList& parameters() const { return parameters_; }

  /// hidden states of the last layer, [total_tokens, hidden_size]; in the dtype that the device has for
  /// activations, as all between the embeddings and the heads
  Variable encode(const PackedBatch& batch, const ForwardContext& context) const;
  /// hidden states of the last layer at the [CLS] rows, [batch_size, hidden_size]
  Variable encode_cls(const PackedBatch& batch, const ForwardContext& context) const;
  /// tanh(W h_[CLS] + b), [batch_size, hidden_size]
  Variable pool(const Variable& cls_states, const PackedBatch& batch, const ForwardContext& context) const;
  /// logits [batch_size, num_labels] of a classification model
  Variable classify(const PackedBatch& batch, const ForwardContext& context) const;
  /// logits [num_rows, vocab_size] of the masked-language-model head for the given rows of `hidden_states`
  Variable predict_tokens(const Variable& hidden_states, const Tensor& rows) const;
  /// logits [batch_size, 2] of the next-sentence head; label 0 = the second text follows the first
  Variable predict_next_sentence(const Variable& hidden_states, const PackedBatch& batch,
                                 const ForwardContext& context) const;

  /// Replaces those dropout probabilities of the configuration that are given.
  void set_dropout(std::optional<double> hidden, std::optional<double> attention_probs,
                   std::optional<double> classifier);

  /// Compute the last layer for the [CLS] rows only where nothing else is asked for (equal results, less
  /// work).
  void set_last_layer_cls_only(bool enabled) { last_layer_cls_only_ = enabled; }
  bool last_layer_cls_only() const { return last_layer_cls_only_; }

  /// Lets the backend keep the frozen weights of the encoder's and the pooler's linear layers in the form
  /// that it multiplies by: packed once, as large as they are, and small models once more for
  /// backward. As long as one of the returned objects lives, these weights must not change.
  std::vector<std::shared_ptr<const void>> hold_frozen_weights() const;
  /// For training: the same, and the weights of the encoder's linear layers, adapters and low-rank updates
  /// that train are kept rounded where the device has activations in bfloat16 (keep_rounded_weights). An
  /// optimiser alone may change those.
  std::vector<std::shared_ptr<const void>> hold_weights();
  /// From now on those that are frozen are on such a device rounded alone (leave_rounded_weights): half of
  /// their memory, for a model that must stay as it is but for what trains.
  void leave_frozen_weights_rounded();

  int64_t num_layers() const { return static_cast<int64_t>(layers_.size()); }
  BertLayer& layer(int64_t index) { return layers_.at(static_cast<size_t>(index)); }
  const Linear& pooler() const { return pooler_; }
  const Linear& classifier() const { return classifier_; }
  const Linear& prediction_transform() const { return prediction_transform_; }
  const Linear& seq_relationship() const { return seq_relationship_; }
  /// The word embeddings as the last layer of the masked-language-model head, with its bias.
  Linear prediction_decoder() const;
  /// The linear layers of the encoder and the pooler, in order: what a low-rank update can be put on.
  std::vector<LinearModule> linear_modules();

 private:
  /// The frozen weights of the encoder and the pooler that are not rounded, those of one product side by
  /// side.
  std::vector<std::vector<Variable>> constant_factors() const;
  /// The weights of the encoder, of its adapters and low-rank updates; those of query, key and value side by
  /// side.
  std::vector<std::vector<Variable>> encoder_factors();
  BertLayer make_layer(int64_t index);
  void make_heads();
  Variable encode_below_last(const PackedBatch& batch, const ForwardContext& context) const;
  /// rows of the hidden states, [num_rows, hidden_size] in the dtype of the heads
  Variable selected_rows(const Variable& hidden_states, const Tensor& rows) const;

  BertConfig config_;
  BertHead head_;
  DType dtype_;
  Device device_;
  ParameterList parameters_;
  BertEmbeddings embeddings_;
  std::vector<BertLayer> layers_;
  Linear pooler_;
  Linear classifier_;
  Linear prediction_transform_;
  LayerNorm prediction_layer_norm_;
  Variable prediction_bias_;  // [vocab_size]
  Linear seq_relationship_;
  bool last_layer_cls_only_ = true;
};

}  // namespace normtune
