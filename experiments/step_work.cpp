#include "experiments/step_work.h"

namespace normtune {

namespace {

bool trains(const Linear& linear) {
  return linear.weight.requires_grad() || linear.bias.requires_grad() ||
         (linear.lora && (linear.lora->lora_A.requires_grad() || linear.lora->lora_B.requires_grad()));
}

bool trains(const LayerNorm& layer_norm) {
  return layer_norm.weight.requires_grad() || layer_norm.bias.requires_grad();
}

/// Adds up the products of a step on the way from the embeddings to the loss.
class WorkCounter {
 public:
  explicit WorkCounter(bool embeddings_trained) : grad_below_(embeddings_trained) {}

  double flops() const { return flops_; }

  /// A linear layer whose input is what was counted last.
  void linear(const Linear& layer, double rows) {
    product(layer.weight, rows, grad_below_);
    if (layer.lora) {
      product(layer.lora->lora_A, rows, grad_below_);
      product(layer.lora->lora_B, rows, grad_below_ || layer.lora->lora_A.requires_grad());
    }
  }
  void adapter(const Adapter& adapter, double rows) {
    linear(adapter.down, rows);
    train(trains(adapter.down));
    linear(adapter.up, rows);
    train(trains(adapter.up));
  }
  void attention(double queries_times_keys, double hidden_size) {
    flops_ += (grad_below_ ? 3 : 1) * 4 * queries_times_keys * hidden_size;
  }
  /// What has just been passed is trained, so gradients flow through all above it.
  void train(bool trained) { grad_below_ = grad_below_ || trained; }

 private:
  void product(const Variable& weight, double rows, bool needs_input_grad) {
    const double one = 2 * rows * static_cast<double>(weight.tensor().numel());
    flops_ += one * (1 + (needs_input_grad ? 1 : 0) + (weight.requires_grad() ? 1 : 0));
  }

  double flops_ = 0;
  bool grad_below_;
};

void count_output(WorkCounter& counter, const BertOutput& output, double rows) {
  counter.linear(output.dense, rows);
  counter.train(trains(output.dense));
  if (output.adapter) counter.adapter(*output.adapter, rows);
  counter.train(trains(output.layer_norm));
}

/// `query_rows` differs from `rows` where only the [CLS] rows ask.
void count_layer(WorkCounter& counter, const BertLayer& layer, double rows, double query_rows,
                 double queries_times_keys, double hidden_size) {
  const BertSelfAttention& attention = layer.attention;
  counter.linear(attention.query, query_rows);
  counter.linear(attention.key, rows);
  counter.linear(attention.value, rows);
  counter.train(trains(attention.query) || trains(attention.key) || trains(attention.value));
  counter.attention(queries_times_keys, hidden_size);
  count_output(counter, layer.attention_output, query_rows);
  counter.linear(layer.intermediate, query_rows);
  counter.train(trains(layer.intermediate));
  count_output(counter, layer.output, query_rows);
}

bool embeddings_trained(const Bert& model) {
  for (const Parameter& parameter : model.parameters()) {
    if (parameter.component.starts_with("embeddings.") && parameter.variable.requires_grad()) return true;
  }
  return false;
}

/// The encoder, for sequences of these lengths; of the last layer the [CLS] rows alone with `cls_only`.
void count_encoder(WorkCounter& counter, Bert& model, std::span<const int64_t> lengths, bool cls_only) {
  double tokens = 0, squares = 0;
  for (const int64_t length : lengths) {
    tokens += static_cast<double>(length);
    squares += static_cast<double>(length * length);
  }
  const auto batch_size = static_cast<double>(lengths.size());
  const auto hidden_size = static_cast<double>(model.config().hidden_size);
  for (int64_t i = 0; i < model.num_layers(); ++i) {
    const bool few_rows = cls_only && i + 1 == model.num_layers();
    count_layer(counter, model.layer(i), tokens, few_rows ? batch_size : tokens, few_rows ? tokens : squares,
                hidden_size);
  }
}

}  // namespace

double needed_step_flops(Bert& model, std::span<const int64_t> lengths) {
  const auto batch_size = static_cast<double>(lengths.size());
  WorkCounter counter(embeddings_trained(model));
  count_encoder(counter, model, lengths, model.last_layer_cls_only());
  counter.linear(model.pooler(), batch_size);
  counter.train(trains(model.pooler()));
  counter.linear(model.classifier(), batch_size);
  return counter.flops();
}

double needed_pretraining_flops(Bert& model, std::span<const int64_t> lengths, int64_t num_masked,
                                bool next_sentence) {
  const auto batch_size = static_cast<double>(lengths.size()), masked = static_cast<double>(num_masked);
  WorkCounter counter(embeddings_trained(model));
  count_encoder(counter, model, lengths, false);
  counter.linear(model.prediction_transform(), masked);
  counter.train(trains(model.prediction_transform()));
  counter.linear(model.prediction_decoder(), masked);
  if (next_sentence) {
    counter.linear(model.pooler(), batch_size);
    counter.linear(model.seq_relationship(), batch_size);
  }
  return counter.flops();
}

}  // namespace normtune
