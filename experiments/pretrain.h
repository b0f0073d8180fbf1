#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/pretraining_corpus.h"
#include "experiments/training_options.h"

namespace normtune {

/// Everything that `normtune pretrain` can be told; names and defaults are those of the command line.
/// `model_name_or_path` is a model to continue from; without one a new model is made.
struct PretrainOptions : TrainingOptions {
  PretrainOptions() {
    learning_rate = 5e-4;
    num_train_epochs = 1;
    per_device_train_batch_size = 32;
    per_device_eval_batch_size = 32;
    weight_decay = 0.01;
    warmup_ratio = 0.1;
    eval_strategy = "steps";
    eval_steps = 200;
    save_strategy = "steps";
    logging_steps = 50;
  }

  // Text: files with one paragraph per line and an empty line between documents, or a generator.
  std::vector<std::filesystem::path> train_files, validation_files;
  std::shared_ptr<const PretrainingCorpora> corpora;  ///< a generator in place of files; null: none
  int64_t max_eval_samples = 512;                     ///< held-out examples, evenly spread over the text

  // What is learned.
  bool no_nsp = false;
  double wrong_pair_share = 0.5;
  double mlm_probability = 0.15;
  bool whole_word_mask = false;

  // A new model.
  int64_t vocab_size = 8192;
  bool do_lower_case = true;
  int64_t num_hidden_layers = 4, hidden_size = 256, num_attention_heads = 4, intermediate_size = 1024;
  std::optional<int64_t> max_position_embeddings;  ///< default: max_seq_length, at least 128
  double initializer_range = 0.02;

  bool fresh_pooler = false;  ///< draw a pooler for a model that has none
};

/// Pre-trains a model with masked language modelling and, unless told otherwise, next-sentence prediction,
/// and writes the output folder: model with both heads and the pooler, vocabulary, logs, results,
/// checkpoints. `initial/` in it holds the vocabulary and the configuration that a new model began with.
///
/// The run is exact and can be resumed as finetune's; only with a time limit does its length depend on the
/// machine. Throws what finetune throws.
TrainingResult pretrain(const PretrainOptions& options);

/// Every option by its name on the command line, with defaults filled in.
nlohmann::ordered_json options_json(const PretrainOptions& options);

}  // namespace normtune
