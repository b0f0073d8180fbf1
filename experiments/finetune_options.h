#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "experiments/dataset.h"
#include "experiments/finetune.h"
#include "nn/model.h"

namespace normtune {

/// Changes when the same options and files would give other numbers.
inline constexpr int numbers_version = 1;

/// Whether `path` is `folder` or lies in it.
bool lies_in(const std::filesystem::path& path, const std::filesystem::path& folder);

/// Throws Error(usage), naming the option, for values out of range and options that contradict each other.
void check_finetune_options(const FinetuneOptions& options);

/// Every option by its name on the command line, with defaults filled in.
nlohmann::ordered_json options_json(const FinetuneOptions& options);

/// What the numbers of a run follow from: its options (without paths, devices' indices, logging and saving),
/// the SHA-256 of every file that it reads, and numbers_version.
nlohmann::json run_identity(const FinetuneOptions& options, const Model& model, const TaskData& data);

/// The first 16 digits of the identity's SHA-256.
std::string run_id(const nlohmann::json& identity);

/// SHA-256 of the weights (over all shards), or empty where all weights are drawn.
std::string weights_sha256(const Model& model);

/// The names of the keys whose values differ, "learning_rate 5e-05 (was 1e-4), ...": why a checkpoint belongs
/// to another run.
std::string describe_differences(const nlohmann::json& now, const nlohmann::json& before);

}  // namespace normtune
