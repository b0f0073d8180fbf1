#include "experiments/trainer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "experiments/atomic_folder.h"
#include "experiments/interrupt.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

Trainer::Trainer(Bert& model, const TrainingObjective& objective, Optimizer& optimizer, DataOrder order,
                 TrainerSettings settings, TrainingJob& job, RunLog& log, fs::path run_folder,
                 ProgressOutput progress)
    : model_(model),
      objective_(objective),
      optimizer_(optimizer),
      order_(std::move(order)),
      settings_(settings),
      captured_steps_(model, objective, optimizer, settings.cuda_graphs),
      job_(job),
      log_(log),
      run_folder_(std::move(run_folder)),
      progress_output_(std::move(progress)),
      start_(std::chrono::steady_clock::now()) {}

double Trainer::elapsed_seconds() const {
  return seconds_before_ + std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

double Trainer::share_of_time() const {
  return std::min(1.0, elapsed_seconds() / *settings_.time_limit_seconds);
}

bool Trainer::is_finished() const {
  if (settings_.time_limit_seconds) return share_of_time() >= 1;
  return state_.step >= settings_.schedule.total_steps;
}

double Trainer::learning_rate() const {
  const int64_t position =
      settings_.time_limit_seconds
          ? static_cast<int64_t>(share_of_time() * static_cast<double>(schedule_parts_of_time))
          : state_.step;
  return settings_.learning_rate * settings_.schedule.factor(position);
}

void Trainer::show_progress(const std::string& note) {
  if (settings_.time_limit_seconds) {
    // As many updates as the time allows at the rate so far.
    const double total = static_cast<double>(state_.step) / std::max(share_of_time(), 1e-9);
    progress_->set_total(std::max(state_.step, static_cast<int64_t>(std::llround(total))));
  }
  progress_->update(state_.step, note);
}

double Trainer::epoch() const {
  return static_cast<double>(state_.step) / static_cast<double>(order_.plan().updates_per_epoch());
}

bool Trainer::is_due(const IntervalStrategy& strategy) const {
  if (state_.step == 0 || strategy.kind == IntervalStrategy::Kind::no) return false;
  if (strategy.kind == IntervalStrategy::Kind::steps) return state_.step % strategy.steps == 0;
  return state_.step % order_.plan().updates_per_epoch() == 0 || is_finished();
}

bool Trainer::should_stop_early() const {
  return settings_.early_stopping_patience &&
         state_.evaluations_without_gain >= *settings_.early_stopping_patience;
}

double Trainer::tokens_per_second() const {
  const double milliseconds = std::accumulate(step_milliseconds_.begin(), step_milliseconds_.end(), 0.0);
  return milliseconds > 0 ? 1e3 * static_cast<double>(num_tokens_) / milliseconds : 0;
}

TrainingEnd Trainer::run() {
  start_ = std::chrono::steady_clock::now();
  seconds_before_ = state_.seconds;
  const auto held = model_.hold_weights();
  progress_.emplace("Training", settings_.time_limit_seconds ? 0 : settings_.schedule.total_steps, "step",
                    progress_output_, state_.step);
  // A run that was interrupted before the evaluation of its last step owes it.
  bool finished = finish_step();
  while (finished && !is_finished() && !should_stop_early()) {
    take_step();
    finished = finish_step();
  }
  finish_pending_step();  // the time may have run out between two looks at the clock
  progress_->finish();
  if (!finished) return TrainingEnd::interrupted;
  return is_finished() ? TrainingEnd::finished : TrainingEnd::stopped_early;
}

void Trainer::take_step() {
  if (!pending_) step_start_ = std::chrono::steady_clock::now();
  const double lr = learning_rate();
  const UpdateExamples examples{.update = state_.step,
                                .epoch = order_.epoch_of(state_.step),
                                .indices = order_.update_examples(state_.step)};
  EnqueuedUpdate update =
      enqueue_update(model_, objective_, optimizer_, examples, lr, settings_.update, &captured_steps_);
  finish_pending_step();
  ++state_.step;
  state_.evaluated = false;
  pending_ = {.update = std::move(update),
              .number = state_.step,
              .epoch = epoch(),
              .lr = lr,
              .num_examples = std::ssize(examples.indices)};
  if (pending_->update.is_done()) finish_pending_step();
}

/// Waits for the step that is under way, if there is one, and notes its result.
void Trainer::finish_pending_step() {
  if (!pending_) return;
  const PendingStep step = std::move(*std::exchange(pending_, std::nullopt));
  const UpdateResult result = step.update.finish();
  const auto end = std::chrono::steady_clock::now();
  const double milliseconds = std::chrono::duration<double, std::milli>(end - step_start_).count();
  step_start_ = end;
  step_milliseconds_.push_back(milliseconds);
  milliseconds_since_log_ += milliseconds;
  tokens_since_log_ += result.num_tokens;
  num_tokens_ += result.num_tokens;
  num_examples_ += step.num_examples;
  state_.loss_sum += result.loss;
  ++state_.loss_count;
  state_.total_loss += result.loss;
  state_.total_flos += result.flops;
  show_progress(fmt::format("loss {:.4g}, {:.0f} tokens/s", result.loss,
                            static_cast<double>(result.num_tokens) / milliseconds * 1e3));
  if (step.number % settings_.logging_steps == 0) write_step_line(step, result.gradient_norm);
}

void Trainer::write_step_line(const PendingStep& step, double gradient_norm) {
  const double loss = state_.loss_sum / static_cast<double>(state_.loss_count);
  log_.write_step(
      {{"step", step.number},
       {"epoch", step.epoch},
       {"loss", loss},
       {"learning_rate", step.lr},
       {"grad_norm", gradient_norm}},
      {{"tokens_per_second", static_cast<double>(tokens_since_log_) / milliseconds_since_log_ * 1e3}},
      state_.log_history);
  state_.loss_sum = 0;
  state_.loss_count = 0;
  milliseconds_since_log_ = 0;
  tokens_since_log_ = 0;
}

/// What is due after a step. False if a signal asks to stop.
bool Trainer::finish_step() {
  const bool evaluates = is_due(settings_.eval), saves = is_due(settings_.save);
  const bool ends = is_finished() || InterruptGuard::signal() != 0;
  if (evaluates || saves || ends) {
    finish_pending_step();
    check_trained_values(optimizer_, state_.step);
  }
  if (!state_.evaluated) {
    if (evaluates && !evaluate()) return false;
    state_.evaluated = true;
    if (saves) save_scheduled_checkpoint();
  }
  return InterruptGuard::signal() == 0;
}

bool Trainer::evaluate() {
  const std::optional<ScoredEvaluation> evaluation = job_.evaluate([&](int64_t done) {
    show_progress(fmt::format("evaluating, {} examples", done));
    return InterruptGuard::signal() == 0;
  });
  if (!evaluation) return false;
  ordered_json line = {{"step", state_.step}, {"epoch", epoch()}};
  line.update(evaluation->results);
  log_.write_evaluation(line, state_.log_history);
  std::string text = fmt::format("step {}:", state_.step);
  for (const auto& [key, value] : evaluation->results.items()) {
    if (value.is_number_float() && !key.ends_with("_per_second") && key != "eval_runtime")
      text += fmt::format(" {} {:.4g}", key, value.get<double>());
  }
  show_progress("");  // no longer evaluating
  progress_->message(text);
  if (settings_.keep_best) note_score(evaluation->score);
  return true;
}

void Trainer::note_score(std::optional<double> score) {
  const bool better = !state_.best_step || (score && (!state_.best_score || *score > *state_.best_score));
  if (!better) {
    ++state_.evaluations_without_gain;
    return;
  }
  job_.save_best();
  state_.best_score = score;
  state_.best_step = state_.step;
  state_.evaluations_without_gain = 0;
}

void Trainer::save_scheduled_checkpoint() {
  // Written before the checkpoint is: killed in between, the run goes on from an earlier one, which takes the
  // line out; the other way round, the line would be lost.
  log_.write("checkpoint", {{"step", state_.step}, {"path", checkpoint_path("", state_.step).string()}});
  save_checkpoint();
}

fs::path Trainer::save_checkpoint() {
  if (settings_.time_limit_seconds) state_.seconds = elapsed_seconds();
  fs::path path = checkpoint_path(run_folder_, state_.step);
  AtomicFolder folder(path);
  job_.save_model(folder.temporary());
  write_training_state(folder.temporary(), state_, optimizer_);
  write_trainer_state(trainer_state(), folder.temporary() / "trainer_state.json");
  folder.commit();
  remove_old_checkpoints(run_folder_, settings_.save_total_limit);
  return path;
}

TrainerState Trainer::trainer_state() const {
  // A run with a time limit does not know its last update before it is there.
  const int64_t total = settings_.time_limit_seconds ? state_.step : settings_.schedule.total_steps;
  const double updates_per_epoch = static_cast<double>(order_.plan().updates_per_epoch());
  TrainerState state{.epoch = epoch(),
                     .global_step = state_.step,
                     .max_steps = total,
                     .num_train_epochs = std::ceil(static_cast<double>(total) / updates_per_epoch),
                     .total_flos = state_.total_flos,
                     .best_metric = state_.best_score,
                     .log_history = state_.log_history};
  if (state_.best_step) state.best_model_checkpoint = "best";
  return state;
}

}  // namespace normtune
