#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

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

/// False for the options that do not change a number, or by rounding alone: where files lie (their content is
/// hashed instead), the device's index, logging, saving and graphs. `name` as on the command line.
bool changes_numbers(std::string_view name);

/// The files that a model is read from.
struct ModelFiles {
  std::filesystem::path folder;       ///< as asked for
  std::filesystem::path base_folder;  ///< that holds config.json and the tokenizer
  std::filesystem::path weights;      ///< a file of tensors, or the index of shards; empty: all is drawn
};

/// The file in a model folder that the weights are read from; empty if it has none.
std::filesystem::path find_weights(const std::filesystem::path& folder);

/// SHA-256 of the weights (over all shards), or empty where all weights are drawn.
std::string weights_sha256(const ModelFiles& files);

/// SHA-256 of every file that a model is made of: its weights (key "weights"), and by name what lies beside
/// them and shapes it (configuration, tokenizer, adapters).
nlohmann::json model_hashes(const ModelFiles& files);
nlohmann::json model_hashes(const Model& model);

/// SHA-256 of the files that a split was read from.
nlohmann::json data_hashes(const Dataset& dataset);

}  // namespace normtune
