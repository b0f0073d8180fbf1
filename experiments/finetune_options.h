#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "experiments/dataset.h"
#include "experiments/finetune.h"
#include "nn/model.h"

namespace normtune {

/// Throws Error(usage), naming the option, for values out of range and options that contradict each other.
void check_finetune_options(const FinetuneOptions& options);

/// Every option by its name on the command line, with defaults filled in.
nlohmann::ordered_json options_json(const FinetuneOptions& options);

/// What the numbers of a run follow from: its options (without paths, devices' indices, logging and saving),
/// the SHA-256 of every file that it reads, and numbers_version.
nlohmann::json run_identity(const FinetuneOptions& options, const Model& model, const TaskData& data);

/// SHA-256 of the weights (over all shards), or empty where all weights are drawn.
std::string weights_sha256(const Model& model);

/// SHA-256 of every file that a model is made of: its weights (key "weights"), and by name what lies beside
/// them and shapes it (configuration, tokenizer, adapters).
nlohmann::json model_hashes(const Model& model);

}  // namespace normtune
