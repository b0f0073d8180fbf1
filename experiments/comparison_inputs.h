#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "experiments/comparison_options.h"

namespace normtune {

/// What a task's files are, as far as runs follow from them.
struct TaskInputs {
  std::string metric;     ///< that tables and grids use: a key of results without `eval_`
  nlohmann::json hashes;  ///< SHA-256 by split: train, dev, and the report split
  int64_t train_rows = 0;
  int64_t train_characters = 0;  ///< of all texts: how much work an epoch is
};

/// The content of the files that the runs of a comparison read.
struct ComparisonInputs {
  nlohmann::json model;  ///< model_hashes() with the weights
  std::string mask;      ///< SHA-256 of --mask; empty without it
  std::map<std::string, TaskInputs> tasks;
  bool recorded = false;  ///< some file is not there, and `inputs.json` was taken at its word
};

/// Reads and hashes them. What they are is also written to `inputs.json` in the output folder, so that the
/// tables of a finished comparison can be made where the model or the data are not: then the record stands
/// for the files. Throws Error(model), Error(data) for malformed files, or missing ones without a record.
ComparisonInputs read_comparison_inputs(const ComparisonOptions& options);

/// Throws Error(model) if a row takes the mask of --mask and that does not fit the model, whose configuration
/// is enough. Nothing is checked where the model is not there.
void check_mask_file(const ComparisonOptions& options);

/// Writes the record, keeping what it says of other models and tasks. Throws Error(write).
void write_comparison_inputs(const ComparisonOptions& options, const ComparisonInputs& inputs);

}  // namespace normtune
