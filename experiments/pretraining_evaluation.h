#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "experiments/evaluation.h"
#include "experiments/masking.h"
#include "experiments/pretraining_data.h"

namespace normtune {

/// How well a model predicts held-out text.
struct PretrainingEvaluation {
  double mlm_loss = 0;                           ///< mean over the masked tokens
  double mlm_accuracy = 0;                       ///< share of the masked tokens whose logit is the largest
  std::optional<double> nsp_loss, nsp_accuracy;  ///< over the pairs; none if there are none
  int64_t num_examples = 0, num_batches = 0;
  double seconds = 0;

  /// mlm_loss + nsp_loss, the loss that training makes small.
  double loss() const { return mlm_loss + nsp_loss.value_or(0); }
};

/// Masked examples that stay the same from one evaluation to the next.
struct HeldOutExamples {
  std::vector<MaskedExample> examples;
  std::vector<int64_t> indices;  ///< in their data set
};

/// At most `max_samples` examples of epoch 0, evenly spread over the data set. Throws Error(data) if they
/// hold nothing to predict.
HeldOutExamples draw_held_out(const PretrainingDataset& data, const Masking& masking, int64_t max_samples);

/// Writes one JSON object per example, so that others can repeat the evaluation: input_ids, token_type_ids,
/// masked_positions, masked_labels, next_sentence_label. Throws Error(write).
void write_held_out(const HeldOutExamples& held_out, const std::filesystem::path& path);

/// Nothing if `progress` stopped it.
std::optional<PretrainingEvaluation> evaluate_pretraining(const Bert& model, const HeldOutExamples& held_out,
                                                          int64_t batch_size,
                                                          const EvaluationProgress& progress = {});

/// The flat keys of results and logs: eval_loss, eval_mlm_loss, eval_mlm_accuracy, eval_nsp_loss, ...
nlohmann::ordered_json pretraining_results(const PretrainingEvaluation& evaluation);

}  // namespace normtune
