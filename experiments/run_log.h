#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "experiments/metrics_log.h"
#include "experiments/tensorboard.h"

namespace normtune {

/// The three places where a run is written down as it goes: metrics.jsonl, a TensorBoard event file, and the
/// log history of trainer_state.json (which the caller keeps, since it is part of a checkpoint).
class RunLog {
 public:
  /// Continues metrics.jsonl in `folder` and begins a new event file.
  RunLog(const std::filesystem::path& folder, const std::string& run);

  /// A line of metrics.jsonl alone: start, resume, checkpoint, end.
  void write(const std::string& kind, const nlohmann::ordered_json& fields);
  /// A line of training: step, epoch, loss, learning_rate, grad_norm. `extra` goes to metrics.jsonl alone.
  void write_step(const nlohmann::ordered_json& fields, const nlohmann::ordered_json& extra,
                  nlohmann::json& log_history);
  /// A line of evaluation: step, epoch, eval_...
  void write_evaluation(const nlohmann::ordered_json& fields, nlohmann::json& log_history);

 private:
  void add_scalars(const std::string& group, const nlohmann::ordered_json& fields);

  MetricsLog metrics_;
  EventWriter events_;
};

}  // namespace normtune
