#include "tools/model_options.h"

#include <algorithm>

#include "nn/model.h"
#include "tensor/error.h"

namespace normtune {

void add_model_option(Options& options, std::filesystem::path& model) {
  options.positional_for("model_name_or_path", "MODEL", "a model folder; or --model_name_or_path");
  add_named_model_option(options, model);
}

void add_named_model_option(Options& options, std::filesystem::path& model) {
  options.group("Model");
  options.path("model_name_or_path", model, "DIR", "a model folder, or a folder with a delta over its base");
}

void require_model(const Options& options, const std::filesystem::path& model) {
  if (model.empty()) {
    fail(ErrorKind::usage, "--model_name_or_path: expected a model folder, found nothing ({})",
         options.see_help());
  }
}

void fit_sequence_length(const Options& options, const std::filesystem::path& model,
                         int64_t& max_seq_length) {
  if (options.given("max_seq_length")) return;
  const BertConfig config = read_bert_config(base_model_folder(model));
  max_seq_length = std::min(max_seq_length, config.max_position_embeddings);
}

void check_sequence_length(int64_t max_seq_length, const BertConfig& config) {
  if (max_seq_length <= config.max_position_embeddings) return;
  fail(ErrorKind::usage, "--max_seq_length: expected at most the model's {} positions, found {}",
       config.max_position_embeddings, max_seq_length);
}

}  // namespace normtune
