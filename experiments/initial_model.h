#pragma once

#include <filesystem>
#include <string>

#include "experiments/pretrain.h"

namespace normtune {

/// Writes a folder with the vocabulary and config.json of a new model, without weights. The vocabulary is
/// learned from the training files, or from epoch 0 of the generator, unless that brings its own.
/// Returns a sentence about it, for people. Throws Error(usage) for a vocabulary that is too small for the
/// text.
std::string write_initial_model(const std::filesystem::path& folder, const PretrainOptions& options);

}  // namespace normtune
