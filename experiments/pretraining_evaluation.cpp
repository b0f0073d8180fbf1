#include "experiments/pretraining_evaluation.h"

#include <algorithm>
#include <chrono>

#include "autograd/cross_entropy_loss.h"
#include "experiments/json_values.h"
#include "experiments/pretraining_objective.h"
#include "nn/atomic_file.h"
#include "tensor/error.h"

namespace normtune {

namespace {

/// Sums over the rows of logits that have a label.
struct Score {
  double loss = 0;
  int64_t num_right = 0, num_rows = 0;

  void add(const Variable& logits, const Tensor& labels);
  double mean_loss() const { return loss / static_cast<double>(num_rows); }
  double accuracy() const { return static_cast<double>(num_right) / static_cast<double>(num_rows); }
};

void Score::add(const Variable& logits, const Tensor& labels) {
  loss += cross_entropy_loss(logits, labels, 1.0).tensor().item();
  const std::vector<int32_t> wanted = labels.to_vector<int32_t>();
  const auto width = static_cast<size_t>(logits.tensor().size(1));
  dispatch_floating(logits.dtype(), [&]<typename T>() {
    const std::vector<T> values = logits.tensor().to_vector<T>();
    for (size_t row = 0; row < wanted.size(); ++row) {
      if (wanted[row] < 0) continue;
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row * width);
      const auto best = std::max_element(begin, begin + static_cast<std::ptrdiff_t>(width)) - begin;
      num_right += best == wanted[row] ? 1 : 0;
      ++num_rows;
    }
  });
}

}  // namespace

HeldOutExamples draw_held_out(const PretrainingDataset& data, const Masking& masking, int64_t max_samples) {
  HeldOutExamples held_out;
  const int64_t num_examples = std::min(max_samples, data.size());
  size_t num_masked = 0;
  for (int64_t i = 0; i < num_examples; ++i) {
    const int64_t index = i * data.size() / num_examples;
    held_out.indices.push_back(index);
    held_out.examples.push_back(masking.mask(data.example(0, index), 0, index));
    num_masked += held_out.examples.back().positions.size();
  }
  if (num_masked == 0) {
    fail(
        ErrorKind::data,
        "held-out text: expected tokens to predict, found only unknown ones ([UNK]); does the vocabulary fit "
        "the text?");
  }
  return held_out;
}

void write_held_out(const HeldOutExamples& held_out, const std::filesystem::path& path) {
  std::string lines;
  for (const MaskedExample& masked : held_out.examples) {
    const nlohmann::ordered_json line = {{"input_ids", masked.example.input_ids},
                                         {"token_type_ids", masked.example.token_type_ids},
                                         {"masked_positions", masked.positions},
                                         {"masked_labels", masked.labels},
                                         {"next_sentence_label", masked.example.next_sentence_label}};
    lines += line.dump() + "\n";
  }
  write_file_atomically(path, lines);
}

std::optional<PretrainingEvaluation> evaluate_pretraining(const Bert& model, const HeldOutExamples& held_out,
                                                          int64_t batch_size,
                                                          const EvaluationProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  const NoGradGuard no_grad;
  PretrainingEvaluation evaluation{.num_examples = static_cast<int64_t>(held_out.examples.size())};
  Score tokens, pairs;
  for (int64_t begin = 0; begin < evaluation.num_examples; begin += batch_size) {
    if (progress && !progress(begin)) return std::nullopt;
    const auto first = static_cast<size_t>(begin);
    const auto count = static_cast<size_t>(std::min(batch_size, evaluation.num_examples - begin));
    const PretrainingBatch batch =
        make_pretraining_batch(std::span(held_out.examples).subspan(first, count),
                               std::span(held_out.indices).subspan(first, count), model.device());
    const Variable hidden_states = model.encode(batch.packed, {.training = false});
    if (batch.num_masked > 0) {
      tokens.add(model.predict_tokens(hidden_states, batch.masked_rows), batch.masked_labels);
    }
    if (batch.num_pairs > 0) {
      pairs.add(model.predict_next_sentence(hidden_states, batch.packed, {.training = false}),
                batch.next_sentence_labels);
    }
    ++evaluation.num_batches;
  }
  evaluation.mlm_loss = tokens.mean_loss();
  evaluation.mlm_accuracy = tokens.accuracy();
  if (pairs.num_rows > 0) {
    evaluation.nsp_loss = pairs.mean_loss();
    evaluation.nsp_accuracy = pairs.accuracy();
  }
  evaluation.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return evaluation;
}

nlohmann::ordered_json pretraining_results(const PretrainingEvaluation& evaluation) {
  nlohmann::ordered_json results = {{"eval_loss", finite_or_null(evaluation.loss())},
                                    {"eval_mlm_loss", finite_or_null(evaluation.mlm_loss)},
                                    {"eval_mlm_accuracy", finite_or_null(evaluation.mlm_accuracy)}};
  if (evaluation.nsp_loss) {
    results["eval_nsp_loss"] = finite_or_null(evaluation.nsp_loss);
    results["eval_nsp_accuracy"] = finite_or_null(evaluation.nsp_accuracy);
  }
  results["eval_samples"] = evaluation.num_examples;
  results["eval_runtime"] = evaluation.seconds;
  results["eval_samples_per_second"] = static_cast<double>(evaluation.num_examples) / evaluation.seconds;
  results["eval_steps_per_second"] = static_cast<double>(evaluation.num_batches) / evaluation.seconds;
  return results;
}

}  // namespace normtune
