#include "nn/bert.h"

#include <algorithm>

#include "autograd/activation.h"
#include "autograd/add.h"
#include "autograd/convert.h"
#include "autograd/dropout.h"
#include "autograd/dropout_residual_layer_norm.h"
#include "autograd/embeddings_layer_norm.h"
#include "autograd/gather_rows.h"
#include "autograd/layer_norm.h"
#include "autograd/linear.h"
#include "autograd/packed_attention.h"
#include "autograd/weight_factors.h"

namespace normtune {

namespace {

/// base + the low-rank update of `linear`, if it has one, at columns [column, column + out_features).
Variable add_lora(Variable base, const Linear& linear, const Variable& input, int64_t column,
                  const ForwardContext& context, const RowIndex& rows) {
  if (!linear.lora) return base;
  return linear.lora->add_to(std::move(base), input, context, rows, column);
}

}  // namespace

Variable BertEmbeddings::forward(const BertConfig& config, const PackedBatch& batch,
                                 const ForwardContext& context) const {
  const DropoutMask mask =
      dropout_mask(context, config.hidden_dropout_prob, dropout_site_embeddings, all_rows(batch));
  return embeddings_layer_norm(word_embeddings, position_embeddings, token_type_embeddings, batch.input_ids,
                               batch.position_ids, batch.token_type_ids, layer_norm.weight, layer_norm.bias,
                               layer_norm.eps, mask, config.pad_token_id);
}

Variable BertSelfAttention::forward(const BertConfig& config, int64_t layer, const Variable& hidden_states,
                                    const PackedBatch& batch, const ForwardContext& context) const {
  const int64_t hidden_size = config.hidden_size;
  const RowIndex rows = all_rows(batch);
  // [total_tokens, 3 * hidden_size]: query, key, value
  Variable qkv =
      linear(hidden_states, {query.weight, key.weight, value.weight}, {query.bias, key.bias, value.bias});
  qkv = add_lora(std::move(qkv), query, hidden_states, 0, context, rows);
  qkv = add_lora(std::move(qkv), key, hidden_states, hidden_size, context, rows);
  qkv = add_lora(std::move(qkv), value, hidden_states, 2 * hidden_size, context, rows);
  const DropoutMask mask = dropout_mask(context, config.attention_probs_dropout_prob,
                                        dropout_site(layer, DropoutPlace::attention_probs), rows);
  return packed_self_attention(qkv, batch.cu_seqlens, config.num_attention_heads, mask);
}

Variable BertSelfAttention::forward_cls(const BertConfig& config, int64_t layer, const Variable& query_states,
                                        const Variable& hidden_states, const PackedBatch& batch,
                                        const ForwardContext& context) const {
  const RowIndex queries = cls_rows(batch), rows = all_rows(batch);
  const Variable query_layer = query.forward(query_states, context, queries);  // [batch_size, hidden_size]
  // [total_tokens, 2 * hidden_size]: key, value
  Variable key_value = linear(hidden_states, {key.weight, value.weight}, {key.bias, value.bias});
  key_value = add_lora(std::move(key_value), key, hidden_states, 0, context, rows);
  key_value = add_lora(std::move(key_value), value, hidden_states, config.hidden_size, context, rows);
  const DropoutMask mask = dropout_mask(context, config.attention_probs_dropout_prob,
                                        dropout_site(layer, DropoutPlace::attention_probs), queries);
  return packed_attention(query_layer, key_value, batch.cls_cu_seqlens, batch.cu_seqlens,
                          config.num_attention_heads, mask);
}

Variable BertOutput::forward(const Variable& dense_output, const Variable& residual,
                             double dropout_probability, int32_t dropout_site, const ForwardContext& context,
                             const RowIndex& rows) const {
  const DropoutMask mask = dropout_mask(context, dropout_probability, dropout_site, rows);
  if (!adapter) {
    return dropout_residual_layer_norm(dense_output, residual, layer_norm.weight, layer_norm.bias,
                                       layer_norm.eps, mask);
  }
  const Variable hidden = dropout(dense_output, mask);
  if (adapter_placement == AdapterPlacement::before_residual) {
    const Variable adapted = add(adapter->forward(hidden, context, rows), hidden);
    return dropout_residual_layer_norm(adapted, residual, layer_norm.weight, layer_norm.bias, layer_norm.eps,
                                       {});
  }
  const Variable sum = add(hidden, residual);
  const Variable normalized = normtune::layer_norm(sum, layer_norm.weight, layer_norm.bias, layer_norm.eps);
  return dropout_residual_layer_norm(adapter->forward(normalized, context, rows), sum, layer_norm.weight,
                                     layer_norm.bias, layer_norm.eps, {});
}

Variable BertLayer::after_attention(const BertConfig& config, int64_t layer, const Variable& context_layer,
                                    const Variable& residual, const ForwardContext& context,
                                    const RowIndex& rows) const {
  const Variable attention_states = attention_output.forward(
      attention_output.dense.forward(context_layer, context, rows), residual, config.hidden_dropout_prob,
      dropout_site(layer, DropoutPlace::attention_output), context, rows);
  const Variable ffn_output = output.dense.forward_activated(
      intermediate.forward(attention_states, context, rows), config.hidden_act, context, rows);
  return output.forward(ffn_output, attention_states, config.hidden_dropout_prob,
                        dropout_site(layer, DropoutPlace::ffn_output), context, rows);
}

Variable BertLayer::forward(const BertConfig& config, int64_t layer, const Variable& hidden_states,
                            const PackedBatch& batch, const ForwardContext& context) const {
  const Variable context_layer = attention.forward(config, layer, hidden_states, batch, context);
  return after_attention(config, layer, context_layer, hidden_states, context, all_rows(batch));
}

Variable BertLayer::forward_cls(const BertConfig& config, int64_t layer, const Variable& hidden_states,
                                const PackedBatch& batch, const ForwardContext& context) const {
  const Variable cls_states = gather_rows(hidden_states, batch.cls_rows);  // [batch_size, hidden_size]
  const Variable context_layer =
      attention.forward_cls(config, layer, cls_states, hidden_states, batch, context);
  return after_attention(config, layer, context_layer, cls_states, context, cls_rows(batch));
}

Bert::Bert(BertConfig config, BertHead head, DType dtype, Device device)
    : config_(std::move(config)), head_(head), dtype_(dtype), device_(device) {
  const int64_t hidden_size = config_.hidden_size;
  const auto embedding = [&](const std::string& name, int64_t rows) {
    return parameters_.add("bert.embeddings." + name + ".weight",
                           Tensor::zeros({rows, hidden_size}, dtype, device));
  };
  embeddings_.word_embeddings = embedding("word_embeddings", config_.vocab_size);
  embeddings_.position_embeddings = embedding("position_embeddings", config_.max_position_embeddings);
  embeddings_.token_type_embeddings = embedding("token_type_embeddings", config_.type_vocab_size);
  embeddings_.layer_norm = LayerNorm::make(parameters_, "bert.embeddings.LayerNorm", hidden_size,
                                           config_.layer_norm_eps, dtype, device);
  layers_.reserve(static_cast<size_t>(config_.num_hidden_layers));
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) layers_.push_back(make_layer(i));
  make_heads();
}

BertLayer Bert::make_layer(int64_t index) {
  const std::string path = fmt::format("bert.encoder.layer.{}.", index);
  const int64_t hidden_size = config_.hidden_size, intermediate_size = config_.intermediate_size;
  const auto linear = [&](const std::string& name, int64_t in_features, int64_t out_features) {
    return Linear::make(parameters_, path + name, in_features, out_features, dtype_, device_);
  };
  const auto layer_norm = [&](const std::string& name) {
    return LayerNorm::make(parameters_, path + name, hidden_size, config_.layer_norm_eps, dtype_, device_);
  };
  BertLayer layer;
  const Tensor qkv_weight = Tensor::zeros({3 * hidden_size, hidden_size}, dtype_, device_);
  const Tensor qkv_bias = Tensor::zeros({3 * hidden_size}, dtype_, device_);
  const auto third = [&](const std::string& name, int64_t i) {
    const int64_t begin = i * hidden_size, end = begin + hidden_size;
    Linear part;
    part.weight = parameters_.add(path + "attention.self." + name + ".weight", qkv_weight.slice(begin, end));
    part.bias = parameters_.add(path + "attention.self." + name + ".bias", qkv_bias.slice(begin, end));
    return part;
  };
  layer.attention.query = third("query", 0);
  layer.attention.key = third("key", 1);
  layer.attention.value = third("value", 2);
  layer.attention_output.dense = linear("attention.output.dense", hidden_size, hidden_size);
  layer.attention_output.layer_norm = layer_norm("attention.output.LayerNorm");
  layer.intermediate = linear("intermediate.dense", hidden_size, intermediate_size);
  layer.output.dense = linear("output.dense", intermediate_size, hidden_size);
  layer.output.layer_norm = layer_norm("output.LayerNorm");
  return layer;
}

void Bert::make_heads() {
  const int64_t hidden_size = config_.hidden_size;
  const auto linear = [&](const std::string& path, int64_t out_features) {
    return Linear::make(parameters_, path, hidden_size, out_features, dtype_, device_);
  };
  pooler_ = linear("bert.pooler.dense", hidden_size);
  if (head_ == BertHead::classification) {
    classifier_ = linear("classifier", config_.num_labels());
    return;
  }
  prediction_transform_ = linear("cls.predictions.transform.dense", hidden_size);
  prediction_layer_norm_ = LayerNorm::make(parameters_, "cls.predictions.transform.LayerNorm", hidden_size,
                                           config_.layer_norm_eps, dtype_, device_);
  prediction_bias_ =
      parameters_.add("cls.predictions.bias", Tensor::zeros({config_.vocab_size}, dtype_, device_));
  seq_relationship_ = linear("cls.seq_relationship", 2);
}

Variable Bert::encode_below_last(const PackedBatch& batch, const ForwardContext& context) const {
  const DType dtype = backend_of(device_).activation_dtype(dtype_);
  Variable hidden_states = convert(embeddings_.forward(config_, batch, context), dtype);
  for (int64_t i = 0; i + 1 < num_layers(); ++i) {
    hidden_states = layers_[static_cast<size_t>(i)].forward(config_, i, hidden_states, batch, context);
  }
  return hidden_states;
}

Variable Bert::encode(const PackedBatch& batch, const ForwardContext& context) const {
  return layers_.back().forward(config_, num_layers() - 1, encode_below_last(batch, context), batch, context);
}

Variable Bert::encode_cls(const PackedBatch& batch, const ForwardContext& context) const {
  if (!last_layer_cls_only_) return selected_rows(encode(batch, context), batch.cls_rows);
  return convert(layers_.back().forward_cls(config_, num_layers() - 1, encode_below_last(batch, context),
                                            batch, context),
                 dtype_);
}

Variable Bert::selected_rows(const Variable& hidden_states, const Tensor& rows) const {
  return convert(gather_rows(hidden_states, rows), dtype_);
}

Variable Bert::pool(const Variable& cls_states, const PackedBatch& batch,
                    const ForwardContext& context) const {
  return tanh(pooler_.forward(cls_states, context, cls_rows(batch)));
}

void Bert::set_dropout(std::optional<double> hidden, std::optional<double> attention_probs,
                       std::optional<double> classifier) {
  if (hidden) config_.hidden_dropout_prob = *hidden;
  if (attention_probs) config_.attention_probs_dropout_prob = *attention_probs;
  if (classifier) config_.classifier_dropout = classifier;
}

Variable Bert::classify(const PackedBatch& batch, const ForwardContext& context) const {
  check(head_ == BertHead::classification, "bert: classify needs a classification head");
  const double probability = config_.classifier_dropout.value_or(config_.hidden_dropout_prob);
  const DropoutMask mask = dropout_mask(context, probability, dropout_site_pooled_output, cls_rows(batch));
  const Variable pooled_output = dropout(pool(encode_cls(batch, context), batch, context), mask);
  return classifier_.forward(pooled_output, context, cls_rows(batch));
}

namespace {

/// The linear layers of a block by their module path below "bert.encoder.layer.N.".
constexpr std::array layer_linears = {
    std::pair{"attention.self.query", +[](BertLayer& layer) { return &layer.attention.query; }},
    std::pair{"attention.self.key", +[](BertLayer& layer) { return &layer.attention.key; }},
    std::pair{"attention.self.value", +[](BertLayer& layer) { return &layer.attention.value; }},
    std::pair{"attention.output.dense", +[](BertLayer& layer) { return &layer.attention_output.dense; }},
    std::pair{"intermediate.dense", +[](BertLayer& layer) { return &layer.intermediate; }},
    std::pair{"output.dense", +[](BertLayer& layer) { return &layer.output.dense; }},
};

}  // namespace

std::vector<std::vector<Variable>> Bert::constant_factors() const {
  std::vector<std::vector<Variable>> factors;
  for (int64_t i = 0; i < num_layers(); ++i) {
    const BertLayer& layer = layers_[static_cast<size_t>(i)];
    const auto& [query, key, value] = layer.attention;
    if (last_layer_cls_only_ && i + 1 == num_layers()) {
      factors.insert(factors.end(), {{query.weight}, {key.weight, value.weight}});
    } else {
      factors.push_back({query.weight, key.weight, value.weight});
    }
    factors.insert(
        factors.end(),
        {{layer.attention_output.dense.weight}, {layer.intermediate.weight}, {layer.output.dense.weight}});
  }
  factors.push_back({pooler_.weight});
  std::erase_if(factors, [](const std::vector<Variable>& weights) {
    return std::ranges::any_of(weights, [](const Variable& weight) {
      return weight.requires_grad() || weight.rounded_copy().defined();
    });
  });
  return factors;
}

std::vector<std::shared_ptr<const void>> Bert::hold_frozen_weights() const {
  // A second form, for backward, where it costs little beside the rest of a process.
  constexpr size_t most_bytes_for_both = size_t{64} << 20;
  const std::vector<std::vector<Variable>> factors = constant_factors();
  size_t bytes = 0;
  for (const std::vector<Variable>& weights : factors) {
    for (const Variable& weight : weights) bytes += weight.tensor().nbytes();
  }
  std::vector<std::shared_ptr<const void>> held;
  for (const std::vector<Variable>& weights : factors) {
    held.push_back(hold_constant_weights(weights, Pass::forward));
    if (bytes <= most_bytes_for_both) held.push_back(hold_constant_weights(weights, Pass::backward));
  }
  std::erase(held, nullptr);
  return held;
}

std::vector<std::vector<Variable>> Bert::encoder_factors() {
  std::vector<std::vector<Variable>> factors;
  for (BertLayer& layer : layers_) {
    const auto& [query, key, value] = layer.attention;
    factors.push_back({query.weight, key.weight, value.weight});
    for (const Linear* linear : {&layer.attention_output.dense, &layer.intermediate, &layer.output.dense}) {
      factors.push_back({linear->weight});
    }
    for (const BertOutput* output : {&layer.attention_output, &layer.output}) {
      if (!output->adapter) continue;
      factors.insert(factors.end(), {{output->adapter->down.weight}, {output->adapter->up.weight}});
    }
    for (const auto& [path, linear_of] : layer_linears) {
      const std::optional<Lora>& lora = linear_of(layer)->lora;
      if (lora) factors.insert(factors.end(), {{lora->lora_A}, {lora->lora_B}});
    }
  }
  return factors;
}

std::vector<std::shared_ptr<const void>> Bert::hold_weights() {
  std::vector<std::shared_ptr<const void>> held = hold_frozen_weights();
  for (const std::vector<Variable>& weights : encoder_factors()) {
    if (std::ranges::any_of(weights, &Variable::requires_grad)) held.push_back(keep_rounded_weights(weights));
  }
  std::erase(held, nullptr);
  return held;
}

void Bert::leave_frozen_weights_rounded() {
  for (const std::vector<Variable>& weights : encoder_factors()) {
    if (std::ranges::none_of(weights, &Variable::requires_grad)) leave_rounded_weights(weights);
  }
}

Variable Bert::predict_tokens(const Variable& hidden_states, const Tensor& rows) const {
  check(head_ == BertHead::pretraining, "bert: predict_tokens needs a pre-training head");
  const Variable selected = selected_rows(hidden_states, rows);
  const Variable transformed =
      layer_norm(activation(linear(selected, prediction_transform_.weight, prediction_transform_.bias),
                            config_.hidden_act),
                 prediction_layer_norm_.weight, prediction_layer_norm_.bias, prediction_layer_norm_.eps);
  // The decoder's weight is the word embedding itself.
  return linear(transformed, embeddings_.word_embeddings, prediction_bias_);
}

Linear Bert::prediction_decoder() const {
  Linear decoder;
  decoder.weight = embeddings_.word_embeddings;
  decoder.bias = prediction_bias_;
  return decoder;
}

Variable Bert::predict_next_sentence(const Variable& hidden_states, const PackedBatch& batch,
                                     const ForwardContext& context) const {
  check(head_ == BertHead::pretraining, "bert: predict_next_sentence needs a pre-training head");
  const Variable pooled_output = pool(selected_rows(hidden_states, batch.cls_rows), batch, context);
  return seq_relationship_.forward(pooled_output, context, cls_rows(batch));
}

std::vector<LinearModule> Bert::linear_modules() {
  std::vector<LinearModule> modules;
  for (int64_t i = 0; i < num_layers(); ++i) {
    int32_t place = static_cast<int32_t>(DropoutPlace::lora_query);
    for (const auto& [path, linear_of] : layer_linears) {
      modules.push_back({fmt::format("bert.encoder.layer.{}.{}", i, path), linear_of(layer(i)),
                         dropout_site(i, static_cast<DropoutPlace>(place++))});
    }
  }
  modules.push_back({"bert.pooler.dense", &pooler_, dropout_site_lora_pooler});
  return modules;
}

}  // namespace normtune
