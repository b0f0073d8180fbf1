#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace normtune {

/// The learning rates that led to a model, and how far they alone could have moved an element. AdamW divides
/// a gradient by its own magnitude, so every element that has one moves by about the learning rate in each
/// step, however large or small its gradient is:
///
///   sign walk:    every step in one direction      |change| = sum lr
///   random walk:  every step in a random direction E|change| = sqrt(2/pi sum lr^2)   (many steps)
///
/// A change divided by the first is 1 for an element that was always pulled the same way; divided by the
/// second it is 1 for one that was pulled nowhere.
struct StepSizes {
  std::string optimizer;  ///< as --optim names it; empty if not known
  int64_t steps = 0;      ///< updates
  double max_lr = 0;
  double sum_lr = 0;
  double sum_sq_lr = 0;
  /// SHA-256 of the weights that the run began with, as its log has it; empty if not known.
  std::string base_sha256;
  /// Why the two walks say nothing of this run; empty if they do.
  std::string no_walk_because;

  bool walks() const { return no_walk_because.empty() && sum_lr > 0; }
  double sign_walk() const { return sum_lr; }
  double random_walk() const;
};

/// The learning rates of a run's folder, or of one of its `checkpoint-N/`: from the schedule in the start
/// line of metrics.jsonl where that fixes them; else those that log_history of trainer_state.json has (also
/// of runs of other programs), in between interpolated. Nothing if the folder has no trainer_state.json, or
/// that tells no learning rate. Throws Error(model) for a malformed file.
std::optional<StepSizes> read_step_sizes(const std::filesystem::path& folder);

nlohmann::ordered_json to_json(const StepSizes& steps);
/// Throws nlohmann's exceptions for what to_json does not write.
StepSizes step_sizes_from_json(const nlohmann::json& value);

}  // namespace normtune
