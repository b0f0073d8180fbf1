#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/optimizer.h"

namespace normtune {

// A checkpoint is a folder `checkpoint-<step>` in a run's folder: a model folder that every command reads,
// and beside it
//   training_state.safetensors  what moves, in full precision, and the optimiser's moments
//   training_state.json         TrainingState
//   trainer_state.json          what transformers keeps (with the log history)

/// What a run must know to go on, apart from tensors. Everything else follows from the step: epoch, place in
/// the epoch, learning rate, shuffles and dropout masks are functions of it.
struct TrainingState {
  std::string run;                   ///< id of the run
  nlohmann::json options;            ///< what the id hashes
  int64_t step = 0;                  ///< updates done
  bool evaluated = false;            ///< the evaluation due after `step`, if any, is done
  double loss_sum = 0;               ///< of the updates since the last line of the log
  int64_t loss_count = 0;            ///< number of these
  double total_loss = 0;             ///< of all updates
  double total_flos = 0;             ///< floating-point operations of their matrix products
  std::optional<double> best_score;  ///< of the best evaluation; none while all were undefined
  std::optional<int64_t> best_step;  ///< of that evaluation; none before the first one
  int64_t evaluations_without_gain = 0;
  double seconds = 0;  ///< that the run took so far; counted only if it has a time limit
  nlohmann::json log_history = nlohmann::json::array();
};

/// N for `checkpoint-N`; nothing for any other name.
std::optional<int64_t> checkpoint_step(std::string_view folder_name);
std::filesystem::path checkpoint_path(const std::filesystem::path& run_folder, int64_t step);
/// Steps of the checkpoints in a run's folder, ascending.
std::vector<int64_t> checkpoint_steps(const std::filesystem::path& run_folder);

/// Removes all but the last `limit` checkpoints; none with limit 0.
void remove_old_checkpoints(const std::filesystem::path& run_folder, int64_t limit);
/// Removes the checkpoints beyond `step`.
void remove_later_checkpoints(const std::filesystem::path& run_folder, int64_t step);

/// Writes training_state.safetensors and training_state.json into `folder`. Of a tensor with an element mask
/// only the listed elements are kept.
void write_training_state(const std::filesystem::path& folder, const TrainingState& state,
                          const Optimizer& optimizer);
/// Reads both. The trainable tensors and the optimiser's moments become what they were. Throws Error(model)
/// naming the file if one is missing or malformed, or if it does not fit the trainable tensors.
TrainingState read_training_state(const std::filesystem::path& folder);
void restore_training_tensors(const std::filesystem::path& folder, int64_t step, Optimizer& optimizer);

/// The values that move, one tensor each (only the listed elements of one with a mask), as copies.
std::vector<NamedTensor> trainable_values(const std::vector<TrainableTensor>& tensors);
/// Puts such values back. Throws Error(model) naming `source` if one is missing or has another shape or
/// dtype.
void set_trainable_values(const std::vector<TrainableTensor>& tensors, const std::vector<NamedTensor>& values,
                          const std::string& source);

}  // namespace normtune
