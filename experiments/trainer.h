#pragma once

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "experiments/checkpoint_folder.h"
#include "experiments/data_order.h"
#include "experiments/evaluation.h"
#include "experiments/progress.h"
#include "experiments/run_log.h"
#include "experiments/trainer_state.h"
#include "experiments/update.h"
#include "nn/lr_schedule.h"

namespace normtune {

/// When something is done: at the end of each epoch (and of the run), every n updates, or not at all.
struct IntervalStrategy {
  enum class Kind { epoch, steps, no };
  Kind kind = Kind::epoch;
  int64_t steps = 0;
};

/// The schedule of a run with a time limit counts in parts of its time: 0 at the start, this at the limit.
inline constexpr int64_t schedule_parts_of_time = 1'000'000;

struct TrainerSettings {
  double learning_rate = 5e-5;
  /// Its total_steps is the number of updates of the run; with a time limit, schedule_parts_of_time.
  LearningRateSchedule schedule;
  std::optional<double> time_limit_seconds;  ///< of the run, whatever processes it ran in
  UpdateSettings update;
  bool cuda_graphs = true;  ///< updates are CapturedSteps where they can be
  int64_t logging_steps = 10;
  IntervalStrategy eval, save;
  int64_t save_total_limit = 1;
  std::optional<int64_t> early_stopping_patience;
  bool keep_best = true;  ///< the job keeps the best model beside the last
};

/// An evaluation as the trainer sees it.
struct ScoredEvaluation {
  nlohmann::ordered_json results;  ///< eval_loss, eval_accuracy, ...
  std::optional<double> score;     ///< none counts as the worst
};

/// What the trainer asks of the job around it.
class TrainingJob {
 public:
  virtual ~TrainingJob() = default;
  /// Nothing if `progress` stopped it.
  virtual std::optional<ScoredEvaluation> evaluate(const EvaluationProgress& progress) = 0;
  /// Writes the model as it is now into a folder.
  virtual void save_model(const std::filesystem::path& folder) = 0;
  /// The model as it is now has the best score so far: keep it.
  virtual void save_best() = 0;
};

enum class TrainingEnd { finished, stopped_early, interrupted };

/// The training loop: updates in the order of the data, and at their times a line of the log, an evaluation,
/// a checkpoint. All that the future depends on is in state(), the trainable tensors and the optimiser; so a
/// run that is continued from a checkpoint takes the same steps as one that was never interrupted.
class Trainer {
 public:
  Trainer(Bert& model, const TrainingObjective& objective, Optimizer& optimizer, DataOrder order,
          TrainerSettings settings, TrainingJob& job, RunLog& log, std::filesystem::path run_folder,
          ProgressOutput progress);

  /// Goes on from a checkpoint's state; its tensors are in place already.
  void restore(TrainingState state) { state_ = std::move(state); }
  TrainingState& state() { return state_; }
  const TrainingState& state() const { return state_; }

  /// Trains until the last update or the end of the time, until the score stops rising, or until a signal
  /// (see InterruptGuard).
  TrainingEnd run();

  /// Writes checkpoint-<step> as a whole, and removes old ones beyond the limit. Returns its path.
  std::filesystem::path save_checkpoint();
  /// trainer_state.json of this moment.
  TrainerState trainer_state() const;
  double epoch() const;
  /// Wall time of each update of this process, in milliseconds: from its begin, or the end of the update
  /// before, to its end.
  const std::vector<double>& step_milliseconds() const { return step_milliseconds_; }
  /// Examples that these updates have seen.
  int64_t num_examples() const { return num_examples_; }
  /// Tokens per second of its updates, evaluations and saving left out.
  double tokens_per_second() const;

 private:
  /// A step that the device may still be working on.
  struct PendingStep {
    EnqueuedUpdate update;
    int64_t number;  // of the step, from 1
    double epoch, lr;
    int64_t num_examples;
  };

  /// Seconds that the run has taken so far, those of earlier processes included.
  double elapsed_seconds() const;
  double share_of_time() const;
  bool is_finished() const;
  double learning_rate() const;
  void show_progress(const std::string& note);
  bool is_due(const IntervalStrategy& strategy) const;
  bool should_stop_early() const;
  void take_step();
  void finish_pending_step();
  void write_step_line(const PendingStep& step, double gradient_norm);
  bool finish_step();
  bool evaluate();
  void note_score(std::optional<double> score);
  void save_scheduled_checkpoint();

  Bert& model_;
  const TrainingObjective& objective_;
  Optimizer& optimizer_;
  DataOrder order_;
  TrainerSettings settings_;
  CapturedSteps captured_steps_;
  TrainingJob& job_;
  RunLog& log_;
  std::filesystem::path run_folder_;
  ProgressOutput progress_output_;
  std::optional<Progress> progress_;
  TrainingState state_;
  std::chrono::steady_clock::time_point start_;
  double seconds_before_ = 0;  // of earlier processes
  /// While a device takes a step, the host prepares the next; its result is noted after that.
  std::optional<PendingStep> pending_;
  std::chrono::steady_clock::time_point step_start_;  // of the pending step, or the result before it
  std::vector<double> step_milliseconds_;
  double milliseconds_since_log_ = 0;
  int64_t tokens_since_log_ = 0;
  int64_t num_tokens_ = 0;    // of this process
  int64_t num_examples_ = 0;  // of this process
};

}  // namespace normtune
