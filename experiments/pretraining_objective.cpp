#include "experiments/pretraining_objective.h"

#include "autograd/add.h"
#include "autograd/cross_entropy_loss.h"
#include "experiments/step_work.h"
#include "tensor/error.h"

namespace normtune {

namespace {

Tensor int_tensor(const std::vector<int32_t>& values, Device device) {
  return Tensor::from_values({static_cast<int64_t>(values.size())}, values, device);
}

/// What the means of an update are taken over.
struct LossCounts {
  int64_t masked = 0, pairs = 0;
};

LossCounts count_losses(std::span<const MaskedExample> examples) {
  LossCounts counts;
  for (const MaskedExample& masked : examples) {
    counts.masked += static_cast<int64_t>(masked.positions.size());
    counts.pairs += masked.example.next_sentence_label >= 0 ? 1 : 0;
  }
  return counts;
}

}  // namespace

PretrainingBatch make_pretraining_batch(std::span<const MaskedExample> examples,
                                        std::span<const int64_t> indices, Device device) {
  std::vector<TokenizedExample> tokenized;
  std::vector<int32_t> rows, labels, pair_labels;
  int32_t first_row = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    const PretrainingExample& example = examples[i].example;
    tokenized.push_back(
        {.input_ids = example.input_ids, .token_type_ids = example.token_type_ids, .example_id = indices[i]});
    for (const int32_t position : examples[i].positions) rows.push_back(first_row + position);
    labels.insert(labels.end(), examples[i].labels.begin(), examples[i].labels.end());
    pair_labels.push_back(example.next_sentence_label);
    first_row += static_cast<int32_t>(example.input_ids.size());
  }
  const LossCounts counts = count_losses(examples);
  return {.packed = pack(tokenized, device),
          .masked_rows = int_tensor(rows, device),
          .masked_labels = int_tensor(labels, device),
          .next_sentence_labels = int_tensor(pair_labels, device),
          .num_masked = counts.masked,
          .num_pairs = counts.pairs};
}

std::vector<MaskedExample> PretrainingObjective::masked_examples(int64_t epoch,
                                                                 std::span<const int64_t> indices) const {
  std::vector<MaskedExample> examples;
  examples.reserve(indices.size());
  for (const int64_t index : indices) {
    examples.push_back(masking_.mask(data_.example(epoch, index), epoch, index));
  }
  return examples;
}

BatchLoss PretrainingObjective::loss(Bert& model, const UpdateExamples& update,
                                     std::span<const int64_t> batch_indices,
                                     const ForwardContext& context) const {
  const std::vector<MaskedExample> examples = masked_examples(update.epoch, batch_indices);
  const bool is_whole_update = batch_indices.size() == update.indices.size();
  const LossCounts counts =
      count_losses(is_whole_update ? examples : masked_examples(update.epoch, update.indices));
  const PretrainingBatch batch = make_pretraining_batch(examples, batch_indices, model.device());

  const Variable hidden_states = model.encode(batch.packed, context);
  Variable loss;
  if (batch.num_masked > 0) {
    loss = cross_entropy_loss(model.predict_tokens(hidden_states, batch.masked_rows), batch.masked_labels,
                              1.0 / static_cast<double>(counts.masked));
  }
  if (batch.num_pairs > 0) {
    const Variable pair_loss =
        cross_entropy_loss(model.predict_next_sentence(hidden_states, batch.packed, context),
                           batch.next_sentence_labels, 1.0 / static_cast<double>(counts.pairs));
    loss = batch.num_masked > 0 ? add(loss, pair_loss) : pair_loss;
  }
  if (batch.num_masked == 0 && batch.num_pairs == 0) {
    fail(ErrorKind::data,
         "step {}: expected tokens to predict, found only unknown ones ([UNK]) in a batch; "
         "does the vocabulary fit the text?",
         update.update + 1);
  }
  std::vector<int64_t> lengths;
  for (const MaskedExample& masked : examples) {
    lengths.push_back(static_cast<int64_t>(masked.example.input_ids.size()));
  }
  return {.loss = loss,
          .num_tokens = batch.packed.total_tokens,
          .flops = needed_pretraining_flops(model, lengths, batch.num_masked, batch.num_pairs > 0)};
}

}  // namespace normtune
