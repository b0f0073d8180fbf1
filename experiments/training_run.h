#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "experiments/trainer.h"
#include "experiments/training_options.h"
#include "nn/model.h"

namespace normtune {

/// Changes when the same options and files would give other numbers.
inline constexpr int numbers_version = 2;

/// The first 16 digits of the identity's SHA-256.
std::string run_id(const nlohmann::json& identity);

/// The names of the keys whose values differ, "learning_rate 5e-05 (was 1e-4), ...": why a checkpoint belongs
/// to another run.
std::string describe_differences(const nlohmann::json& now, const nlohmann::json& before);

/// The life of a training in its output folder: start or resume, train, finish or stop for a signal. What is
/// trained, and on what, is the derived class's; it fills the protected members and calls run().
class TrainingRun : public TrainingJob {
 public:
  /// `options` must outlive the run.
  explicit TrainingRun(const TrainingOptions& options);

  TrainingResult run();
  void save_model(const std::filesystem::path& folder) override;
  void save_best() override;

 protected:
  /// Fills model_, optimizer_, objective_, plan_ and identity_.
  virtual void prepare() = 0;
  /// What the run is about, for people.
  virtual void describe() const = 0;
  /// What the first line of the log says beside the machine.
  virtual nlohmann::ordered_json start_fields() const = 0;
  /// There is something to evaluate the model on.
  virtual bool has_evaluation() const = 0;
  /// Adjusts what the options alone do not decide.
  virtual void adjust(TrainerSettings&) const {}
  /// Writes what a finished run leaves beside the model and the results.
  virtual void write_outputs(bool evaluated) = 0;
  /// Adds to all_results.json.
  virtual void add_results(nlohmann::json& results, bool evaluated) const = 0;

  void say(std::string_view text) const;   ///< left out with --quiet
  void warn(std::string_view text) const;  ///< always: nothing doubtful passes in silence
  const std::string& id() const { return run_id_; }
  const std::filesystem::path& folder() const { return folder_; }

  std::optional<Model> model_;
  std::optional<Optimizer> optimizer_;
  std::unique_ptr<TrainingObjective> objective_;
  BatchPlan plan_;
  bool shuffle_ = true;      ///< the order of the examples is to be drawn
  nlohmann::json identity_;  ///< what the numbers of the run follow from

 private:
  std::optional<std::string> finished_results() const;
  std::optional<std::filesystem::path> find_checkpoint() const;
  void start();
  void resume(const std::filesystem::path& checkpoint);
  TrainerSettings trainer_settings() const;
  void make_trainer();

  TrainingResult finish(double train_seconds);
  TrainingResult train();
  void fail_for_memory(const Error& error) const;
  TrainingResult stop_for_signal();
  bool is_best_loaded() const;
  void load_best();
  std::optional<ScoredEvaluation> final_evaluation();
  nlohmann::json write_train_results(double train_seconds);
  nlohmann::json write_eval_results(const ScoredEvaluation& evaluation);
  nlohmann::json summary() const;
  void write_end_line(const char* status, const nlohmann::json& results);

  const TrainingOptions& options_;
  std::filesystem::path folder_;
  std::string run_id_;
  std::optional<RunLog> log_;
  std::optional<Trainer> trainer_;
  std::chrono::steady_clock::time_point start_time_ = std::chrono::steady_clock::now();
};

}  // namespace normtune
