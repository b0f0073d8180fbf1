#pragma once

#include <filesystem>

#include "nn/bert_config.h"
#include "tools/options.h"

namespace normtune {

/// The model as an argument without name or as --model_name_or_path, whichever the user prefers.
void add_model_option(Options& options, std::filesystem::path& model);

/// As --model_name_or_path alone, where the argument without name is something else.
void add_named_model_option(Options& options, std::filesystem::path& model);

/// Throws Error(usage) if no model was given.
void require_model(const Options& options, const std::filesystem::path& model);

/// Where --max_seq_length was not given: its default, or the model's positions if they are fewer. Throws
/// Error(model) if there is no config.json to tell.
void fit_sequence_length(const Options& options, const std::filesystem::path& model, int64_t& max_seq_length);

/// Throws Error(usage) if --max_seq_length is longer than the model's positions.
void check_sequence_length(int64_t max_seq_length, const BertConfig& config);

}  // namespace normtune
