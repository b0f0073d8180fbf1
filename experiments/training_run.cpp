#include "experiments/training_run.h"

#include <omp.h>

#include <algorithm>

#include "experiments/atomic_folder.h"
#include "experiments/cpu_name.h"
#include "experiments/interrupt.h"
#include "experiments/method.h"
#include "experiments/process_memory.h"
#include "experiments/run_folder.h"
#include "experiments/statistics.h"
#include "experiments/submission.h"
#include "nn/json_file.h"
#include "nn/sha256.h"
#include "tensor/cpu/vector/dispatch.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

using Clock = std::chrono::steady_clock;

/// In best/: the trained values that --load_best_model_at_end goes back to.
constexpr const char* best_values_name = "trainable.safetensors";

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string compiler_name() {
#ifdef __clang__
  return fmt::format("clang {}", __clang_version__);
#else
  return fmt::format("g++ {}", __VERSION__);
#endif
}

/// The median over the steps but the first, which pays for page faults and for what is made once.
json median_step_time(const std::vector<double>& step_milliseconds) {
  if (step_milliseconds.empty()) return nullptr;
  if (step_milliseconds.size() == 1) return step_milliseconds.front();
  return median({step_milliseconds.begin() + 1, step_milliseconds.end()});
}

IntervalStrategy interval_strategy(const std::string& name, int64_t steps) {
  if (name == "steps") return {IntervalStrategy::Kind::steps, steps};
  return {name == "epoch" ? IntervalStrategy::Kind::epoch : IntervalStrategy::Kind::no, 0};
}

int64_t count_of(const json& options, const char* name) {
  const json value = options.value(name, json());
  return value.is_number_integer() ? value.get<int64_t>() : 0;
}

/// An identity without what moves numbers by rounding alone: into how many batches the examples of an update,
/// or of an evaluation, are cut.
json without_batch_sizes(json identity) {
  identity["examples_per_update"] =
      count_of(identity, "per_device_train_batch_size") * count_of(identity, "gradient_accumulation_steps");
  for (const char* name :
       {"per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size"}) {
    identity.erase(name);
  }
  return identity;
}

/// The smallest divisor above 1 of a number above 1.
int64_t smallest_divisor(int64_t number) {
  for (int64_t divisor = 2; divisor <= number / divisor; ++divisor) {
    if (number % divisor == 0) return divisor;
  }
  return number;
}

/// Options with which a run takes less memory, although an update learns from the same examples; empty if
/// there are none.
std::string options_for_less_memory(const TrainingOptions& options) {
  std::string text;
  const int64_t batch = options.per_device_train_batch_size;
  if (batch > 1) {
    const int64_t parts = smallest_divisor(batch);
    text += fmt::format(" --per_device_train_batch_size {} --gradient_accumulation_steps {}", batch / parts,
                        options.gradient_accumulation_steps * parts);
  }
  if (options.per_device_eval_batch_size > 1) {
    text += fmt::format(" --per_device_eval_batch_size {}", options.per_device_eval_batch_size / 2);
  }
  if (options.device.type == DeviceType::cuda && options.cuda_graphs) text += " --cuda_graphs false";
  return text;
}

ordered_json machine_json() {
  return {{"compiler", compiler_name()},
          {"cpu", cpu_name()},
          {"instruction_set", cpu_instruction_set()},
          {"num_threads", omp_get_max_threads()}};
}

}  // namespace

std::string run_id(const json& identity) {
  return sha256(identity.dump()).substr(0, 16);
}

std::string describe_differences(const json& now, const json& before) {
  std::vector<std::string> differences;
  for (const auto& [key, value] : now.items()) {
    const json old_value = before.value(key, json());
    if (value != old_value)
      differences.push_back(fmt::format("{} {} (was {})", key, value.dump(), old_value.dump()));
  }
  return fmt::format("{}", fmt::join(differences, ", "));
}

TrainingRun::TrainingRun(const TrainingOptions& options) : options_(options), folder_(options.output_dir) {}

void TrainingRun::say(std::string_view text) const {
  if (options_.progress.quiet || !options_.progress.write) return;
  options_.progress.write(fmt::format("{}\n", text));
}

void TrainingRun::warn(std::string_view text) const {
  if (options_.progress.write) options_.progress.write(fmt::format("normtune: warning: {}\n", text));
}

TrainingResult TrainingRun::run() {
  prepare();
  run_id_ = normtune::run_id(identity_);
  describe();
  if (const std::optional<std::string> results = finished_results()) {
    say("the run in " + folder_.string() + " is finished");
    return {.interrupted_by = 0, .checkpoint = {}, .all_results_json = *results};
  }
  const std::optional<fs::path> checkpoint = find_checkpoint();
  checkpoint ? resume(*checkpoint) : start();
  try {
    return train();
  } catch (const Error& error) {
    // A run that a numeric failure stops says so in its log.
    if (error.kind() == ErrorKind::numeric) write_end_line("failed", json::object());
    if (error.kind() == ErrorKind::out_of_memory) fail_for_memory(error);
    throw;
  }
}

TrainingResult TrainingRun::train() {
  const InterruptGuard interrupt_guard;
  const Clock::time_point train_start = Clock::now();
  if (trainer_->run() == TrainingEnd::interrupted) return stop_for_signal();
  return finish(seconds_since(train_start));
}

/// Adds how the run can go on, if it can.
void TrainingRun::fail_for_memory(const Error& error) const {
  const std::string less_memory = options_for_less_memory(options_);
  if (less_memory.empty()) return;
  const std::vector<int64_t> steps = checkpoint_steps(folder_);
  std::string from = "the beginning", resume = "--resume_from_checkpoint";
  if (!steps.empty()) {
    from = checkpoint_path("", steps.back()).string();
  } else if (!options_.resume_from.empty()) {
    from = options_.resume_from.string();
    resume += "=" + from;
  }
  fail(ErrorKind::out_of_memory, "{}; to go on from {} with the same examples in each update: {}{}",
       error.what(), from, resume, less_memory);
}

TrainerSettings TrainingRun::trainer_settings() const {
  const bool timed = options_.time_limit > 0;
  const int64_t total =
      timed ? schedule_parts_of_time : plan_.total_updates(options_.num_train_epochs, options_.max_steps);
  const int64_t eval_steps = options_.eval_steps.value_or(options_.logging_steps);
  TrainerSettings settings{
      .learning_rate = options_.learning_rate,
      .schedule = {.kind = find_schedule(options_.lr_scheduler_type),
                   .warmup_steps = warmup_length(options_.warmup_steps, options_.warmup_ratio, total),
                   .total_steps = total},
      .update = {.batch_size = options_.per_device_train_batch_size,
                 .max_grad_norm = options_.max_grad_norm,
                 .dropout_seed = options_.dropout_seed.value_or(options_.seed)},
      .cuda_graphs = options_.cuda_graphs,
      .logging_steps = options_.logging_steps,
      .eval = has_evaluation() ? interval_strategy(options_.eval_strategy, eval_steps)
                               : IntervalStrategy{IntervalStrategy::Kind::no, 0},
      .save = interval_strategy(options_.save_strategy, options_.save_steps),
      .save_total_limit = options_.save_total_limit,
      .early_stopping_patience = options_.early_stopping_patience};
  if (timed) settings.time_limit_seconds = 60 * options_.time_limit;
  adjust(settings);
  return settings;
}

void TrainingRun::make_trainer() {
  log_.emplace(folder_, run_id_);
  trainer_.emplace(model_->bert, *objective_, *optimizer_,
                   DataOrder(plan_, options_.data_seed.value_or(options_.seed), shuffle_), trainer_settings(),
                   *this, *log_, folder_, options_.progress);
  trainer_->state().run = run_id_;
  trainer_->state().options = identity_;
}

// ---- Start and resume

/// The results of a run that has nothing left to do.
std::optional<std::string> TrainingRun::finished_results() const {
  const fs::path file = folder_ / "all_results.json";
  if (!options_.resume_from_checkpoint || !fs::exists(file)) return std::nullopt;
  const json results = read_json_file(file, ErrorKind::data);
  if (!results.is_object() || results.value("run", json()) != run_id_) return std::nullopt;
  return json_text(results);
}

std::optional<fs::path> TrainingRun::find_checkpoint() const {
  if (!options_.resume_from.empty()) return options_.resume_from;
  if (!options_.resume_from_checkpoint) return std::nullopt;
  const std::vector<int64_t> steps = checkpoint_steps(folder_);
  if (steps.empty()) {
    say("no checkpoint to resume from: starting from the beginning");
    return std::nullopt;
  }
  return checkpoint_path(folder_, steps.back());
}

void TrainingRun::start() {
  remove_run_files(folder_);
  make_trainer();
  ordered_json line = start_fields();
  line["numbers_version"] = numbers_version;
  line.update(machine_json());
  log_->write("start", line);
}

void TrainingRun::resume(const fs::path& checkpoint) {
  if (!goes_on(options_)) remove_run_files(folder_);
  TrainingState state = read_training_state(checkpoint);
  const bool is_changed = state.run != run_id_;
  if (is_changed && without_batch_sizes(identity_) != without_batch_sizes(state.options)) {
    fail(ErrorKind::usage,
         "{}: belongs to another run; these differ: {}; resume it with the same options and files (batches "
         "may be smaller if an update has as many examples), or start anew with --overwrite_output_dir",
         checkpoint.string(), describe_differences(identity_, state.options));
  }
  restore_training_tensors(checkpoint, state.step, *optimizer_);
  fs::remove(folder_ / "all_results.json");
  remove_later_checkpoints(folder_, state.step);
  remove_old_checkpoints(folder_, options_.save_total_limit);  // if the run was killed before it did
  truncate_metrics_log(folder_ / "metrics.jsonl", state.step);
  make_trainer();
  ordered_json line = {{"step", state.step}, {"path", checkpoint.filename().string()}};
  say(fmt::format("resuming from {} at step {}", checkpoint.string(), state.step));
  if (is_changed) {
    line["changed"] = describe_differences(identity_, state.options);
    say(fmt::format("with {}: an update learns from the same examples, and results differ by rounding alone",
                    describe_differences(identity_, state.options)));
  }
  log_->write("resume", line);
  state.run = run_id_;
  state.options = identity_;
  trainer_->restore(std::move(state));
}

// ---- What the trainer asks for

void TrainingRun::save_model(const fs::path& folder) {
  normtune::save_model(*model_, folder);
}

void TrainingRun::save_best() {
  AtomicFolder best(folder_ / "best");
  save_model(best.temporary());
  if (options_.load_best_model_at_end) {
    // In full precision and unmerged, unlike model.safetensors.
    write_safetensors(best.temporary() / best_values_name, trainable_values(optimizer_->tensors()));
  }
  best.commit();
}

// ---- The end

/// The trained values of the best evaluation become the model's again.
void TrainingRun::load_best() {
  const fs::path path = folder_ / "best" / best_values_name;
  const SafetensorsFile file(path);
  std::vector<NamedTensor> values;
  for (const std::string& name : file.names()) values.push_back({name, file.read(name)});
  set_trainable_values(optimizer_->tensors(), values, path.string());
}

/// finish() writes the best model instead of the last one.
bool TrainingRun::is_best_loaded() const {
  return options_.load_best_model_at_end && trainer_->state().best_step.has_value();
}

/// Scores the model that is written. Nothing if a signal stopped it.
std::optional<ScoredEvaluation> TrainingRun::final_evaluation() {
  // A model that is no longer the last one cannot become a checkpoint: then one must be there to stop.
  const bool may_stop = !is_best_loaded() || fs::exists(checkpoint_path(folder_, trainer_->state().step));
  return evaluate([&](int64_t) { return !may_stop || InterruptGuard::signal() == 0; });
}

/// train_results.json, and its line in the log history.
json TrainingRun::write_train_results(double train_seconds) {
  TrainingState& state = trainer_->state();
  const auto steps = static_cast<double>(trainer_->step_milliseconds().size());
  json results = {{"epoch", trainer_->epoch()},
                  {"total_flos", state.total_flos},
                  {"train_loss", state.total_loss / static_cast<double>(std::max<int64_t>(state.step, 1))},
                  {"train_runtime", train_seconds},
                  {"train_samples_per_second", static_cast<double>(trainer_->num_examples()) / train_seconds},
                  {"train_steps_per_second", steps / train_seconds}};
  json line = results;
  line["step"] = state.step;
  state.log_history.push_back(line);
  results["train_samples"] = plan_.num_examples;
  results["train_tokens_per_second"] = trainer_->tokens_per_second();
  write_results(folder_, "train", results);
  return results;
}

/// eval_results.json, and its line in the log history.
json TrainingRun::write_eval_results(const ScoredEvaluation& evaluation) {
  json results = evaluation.results;
  results["epoch"] = trainer_->epoch();
  write_results(folder_, "eval", results);
  json line = results;
  line["step"] = trainer_->state().step;
  trainer_->state().log_history.push_back(line);
  return results;
}

/// What all_results.json says beside the results of training and evaluation.
json TrainingRun::summary() const {
  const std::optional<int64_t> device_bytes = peak_device_bytes(options_.device);
  return {{"run", run_id_},
          {"ms_per_step", median_step_time(trainer_->step_milliseconds())},
          {"peak_rss_bytes", peak_rss_bytes()},
          {"peak_device_bytes", device_bytes ? json(*device_bytes) : json()},
          {"total_parameters", model_->bert.parameters().numel()},
          {"trainable_parameters", trainable_elements(optimizer_->tensors())}};
}

TrainingResult TrainingRun::finish(double train_seconds) {
  if (is_best_loaded()) load_best();
  std::optional<ScoredEvaluation> evaluation;
  if (has_evaluation()) {
    evaluation = final_evaluation();
    if (!evaluation) return stop_for_signal();
  }
  save_model(folder_);
  write_outputs(evaluation.has_value());
  json all = write_train_results(train_seconds);
  if (evaluation) all.update(write_eval_results(*evaluation));
  write_trainer_state(trainer_->trainer_state(), folder_ / "trainer_state.json");
  all.update(summary());
  if (evaluation) all["eval_score"] = evaluation->score ? json(*evaluation->score) : json();
  add_results(all, evaluation.has_value());
  write_end_line("finished", all);
  write_results(folder_, "all", all);  // the last file: a run that has it is finished
  return {.interrupted_by = 0, .checkpoint = {}, .all_results_json = json_text(all)};
}

TrainingResult TrainingRun::stop_for_signal() {
  fs::path checkpoint = checkpoint_path(folder_, trainer_->state().step);
  if (!fs::exists(checkpoint)) checkpoint = trainer_->save_checkpoint();
  write_end_line("interrupted", json::object());
  say(
      fmt::format("interrupted at step {}; {} is written: the same command with --resume_from_checkpoint "
                  "continues from it",
                  trainer_->state().step, checkpoint.string()));
  return {.interrupted_by = InterruptGuard::signal(), .checkpoint = checkpoint, .all_results_json = ""};
}

void TrainingRun::write_end_line(const char* status, const json& results) {
  const TrainingState& state = trainer_->state();
  ordered_json line = {{"step", state.step},
                       {"status", status},
                       {"best_score", state.best_score ? ordered_json(*state.best_score) : ordered_json()},
                       {"wall_seconds", seconds_since(start_time_)},
                       {"peak_rss_bytes", peak_rss_bytes()}};
  for (const auto& [key, value] : results.items()) {
    if (key.starts_with("eval_")) line[key] = value;
  }
  log_->write("end", line);
}

}  // namespace normtune
