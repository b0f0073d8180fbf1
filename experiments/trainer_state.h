#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace normtune {

/// What transformers keeps of a run in trainer_state.json; `log_history` is a list of flat objects with
/// `epoch` and `step`.
struct TrainerState {
  double epoch = 0.0;
  int64_t global_step = 0;
  int64_t max_steps = 0;
  double num_train_epochs = 0.0;
  double total_flos = 0.0;
  std::optional<double> best_metric;
  std::optional<std::string> best_model_checkpoint;
  nlohmann::json log_history = nlohmann::json::array();
};

/// Replaces `file` in one rename: keys sorted, indented by two blanks. Throws Error(write).
void write_trainer_state(const TrainerState& state, const std::filesystem::path& file);

/// Throws Error(model) that names the file and the key for anything that write_trainer_state does not write.
TrainerState read_trainer_state(const std::filesystem::path& file);

/// Writes `folder`/`name`_results.json (train, eval, all): a flat object, keys sorted, indented by two
/// blanks. Values that are not finite become null.
void write_results(const std::filesystem::path& folder, const std::string& name,
                   const nlohmann::json& values);

}  // namespace normtune
