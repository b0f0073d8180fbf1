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

/// Targets: masked rows, masked labels, next-sentence labels. Scales: of the two terms of the loss, 0 where
/// there is nothing to predict.
TrainingBatch PretrainingObjective::batch(Bert& model, const UpdateExamples& update,
                                          std::span<const int64_t> indices, const BatchForm& form) const {
  check(form.padding == Padding::none, "pre-training: batches are not padded");
  const std::vector<MaskedExample> examples = masked_examples(update.epoch, indices);
  const bool is_whole_update = indices.size() == update.indices.size();
  const LossCounts counts =
      count_losses(is_whole_update ? examples : masked_examples(update.epoch, update.indices));
  const PretrainingBatch batch = make_pretraining_batch(examples, indices, form.device);
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
  return {.packed = batch.packed,
          .targets = {batch.masked_rows, batch.masked_labels, batch.next_sentence_labels},
          .scales = {batch.num_masked > 0 ? 1.0 / static_cast<double>(counts.masked) : 0,
                     batch.num_pairs > 0 ? 1.0 / static_cast<double>(counts.pairs) : 0},
          .num_tokens = batch.packed.total_tokens,
          .flops = needed_pretraining_flops(model, lengths, batch.num_masked, batch.num_pairs > 0)};
}

Variable PretrainingObjective::loss(Bert& model, const TrainingBatch& batch,
                                    const ForwardContext& context) const {
  const Tensor &masked_rows = batch.targets[0], &masked_labels = batch.targets[1],
               &next_sentence_labels = batch.targets[2];
  const double masked_scale = batch.scales[0], pair_scale = batch.scales[1];
  const Variable hidden_states = model.encode(batch.packed, context);
  Variable loss;
  if (masked_scale > 0) {
    loss = cross_entropy_loss(model.predict_tokens(hidden_states, masked_rows), masked_labels, masked_scale);
  }
  if (pair_scale > 0) {
    const Variable pair_loss = cross_entropy_loss(
        model.predict_next_sentence(hidden_states, batch.packed, context), next_sentence_labels, pair_scale);
    loss = masked_scale > 0 ? add(loss, pair_loss) : pair_loss;
  }
  return loss;
}

}  // namespace normtune
