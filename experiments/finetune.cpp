#include "experiments/finetune.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "experiments/atomic_folder.h"
#include "experiments/finetune_options.h"
#include "experiments/interrupt.h"
#include "experiments/peft_export.h"
#include "experiments/process_memory.h"
#include "experiments/run_folder.h"
#include "experiments/submission.h"
#include "experiments/trainer.h"
#include "nn/json_file.h"
#include "nn/model.h"
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

/// The run in the output folder is continued, rather than one begun there.
bool goes_on(const FinetuneOptions& options) {
  return options.resume_from_checkpoint ||
         (!options.resume_from.empty() && lies_in(options.resume_from, options.output_dir));
}

// ---- Reading the model and the data

/// The names that a new classifier gets: the task's classes, or one for a regression.
std::vector<std::string> label_names_of(const Task& task) {
  return task.regression ? std::vector<std::string>{"LABEL_0"} : task.label_names;
}

Model load_base_model(const FinetuneOptions& options, const Task& task) {
  Model model =
      load_model(options.model_name_or_path, {.head = BertHead::classification,
                                              .dtype = options.precision,
                                              .device = options.device,
                                              .label_names = label_names_of(task),
                                              .regression = task.regression,
                                              .fresh_pooler = options.method.fresh_pooler,
                                              .random_init = options.random_init,
                                              .init_seed = options.init_seed.value_or(options.seed)});
  model.bert.set_dropout(options.hidden_dropout_prob, options.attention_probs_dropout_prob,
                         options.classifier_dropout);
  model.bert.set_last_layer_cls_only(options.last_layer_cls_only);
  const int64_t num_positions = model.bert.config().max_position_embeddings;
  if (options.max_seq_length > num_positions) {
    fail(ErrorKind::usage, "--max_seq_length: expected at most the model's {} positions, found {}",
         num_positions, options.max_seq_length);
  }
  return model;
}

TokenizedDataset tokenize(const Dataset& dataset, const Model& model, int64_t max_seq_length) {
  TokenizedDataset tokens(dataset, model.tokenizer, max_seq_length);
  if (tokens.has_pairs() && model.bert.config().type_vocab_size < 2) {
    fail(
        ErrorKind::model,
        "{}: the model has one token type (type_vocab_size 1), but the rows of {} have two texts; expected a "
        "model with two token types",
        model.folder.string(), dataset.files.front().string());
  }
  return tokens;
}

// ---- Describing the machine

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string compiler_name() {
#ifdef __clang__
  return fmt::format("clang {}", __clang_version__);
#else
  return fmt::format("g++ {}", __VERSION__);
#endif
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// The median over the steps but the first, which pays for page faults and for what is made once.
json median_step_time(const std::vector<double>& step_milliseconds) {
  if (step_milliseconds.empty()) return nullptr;
  if (step_milliseconds.size() == 1) return step_milliseconds.front();
  return median({step_milliseconds.begin() + 1, step_milliseconds.end()});
}

Interval make_interval(const std::string& strategy, int64_t steps) {
  if (strategy == "steps") return {Interval::Kind::steps, steps};
  return {strategy == "epoch" ? Interval::Kind::epoch : Interval::Kind::no, 0};
}

// ---- The job

/// One fine-tuning from options to the finished folder; run() is its table of contents.
class FinetuneJob final : public TrainingJob {
 public:
  explicit FinetuneJob(const FinetuneOptions& options)
      : options_(options),
        folder_(options.output_dir),
        data_(load_task_data(options.task)),
        model_(load_base_model(options, data_.task)) {}

  FinetuneResult run();

  std::optional<ScoredEvaluation> evaluate(const EvaluationProgress& progress) override;
  void save_model(const fs::path& folder) override;
  void save_best() override;

 private:
  void prepare_model();
  void prepare_data();
  void check_metric() const;
  void describe_model() const;
  void say(std::string_view text) const;

  std::optional<std::string> finished_results() const;
  std::optional<fs::path> find_checkpoint() const;
  void start();
  void resume(const fs::path& checkpoint);
  ordered_json start_line() const;
  void make_trainer();
  TrainerSettings trainer_settings(const BatchPlan& plan) const;

  FinetuneResult finish(double train_seconds);
  FinetuneResult stop_for_signal();
  void load_best();
  std::optional<Evaluation> final_evaluation() const;
  json write_train_results(double train_seconds);
  json write_eval_results(const Evaluation& evaluation);
  json summary(const std::optional<Evaluation>& evaluation) const;
  void write_end_line(const char* status, const json& results);

  /// finish() writes the best model instead of the last one.
  bool is_best_loaded() const {
    return options_.load_best_model_at_end && trainer_->state().best_step.has_value();
  }

  const FinetuneOptions& options_;
  fs::path folder_;
  TaskData data_;
  Model model_;
  std::optional<TokenizedDataset> train_tokens_;
  std::vector<EvaluationSplit> dev_;
  json identity_;
  std::string run_id_;
  std::optional<Optimizer> optimizer_;
  std::optional<RunLog> log_;
  std::optional<Trainer> trainer_;
  Clock::time_point start_time_ = Clock::now();
};

void FinetuneJob::say(std::string_view text) const {
  if (options_.progress.quiet || !options_.progress.write) return;
  options_.progress.write(fmt::format("{}\n", text));
}

FinetuneResult FinetuneJob::run() {
  identity_ = run_identity(options_, model_, data_);
  run_id_ = normtune::run_id(identity_);
  prepare_data();
  prepare_model();
  describe_model();
  if (const std::optional<std::string> results = finished_results()) {
    say("the run in " + folder_.string() + " is finished");
    return {.interrupted_by = 0, .checkpoint = {}, .all_results_json = *results};
  }
  const std::optional<fs::path> checkpoint = find_checkpoint();
  checkpoint ? resume(*checkpoint) : start();

  const InterruptGuard interrupt_guard;
  const Clock::time_point train_start = Clock::now();
  if (trainer_->run() == TrainingEnd::interrupted) return stop_for_signal();
  return finish(seconds_since(train_start));
}

// ---- Preparation

void FinetuneJob::prepare_data() {
  const std::vector<std::string>& id2label = model_.bert.config().id2label;
  if (!data_.task.regression) {
    map_labels(data_.train, id2label);
    for (Dataset& dev : data_.dev) map_labels(dev, id2label);
  }
  for (const std::string& warning : data_.train.warnings) say("warning: " + warning);
  train_tokens_ = tokenize(data_.train, model_, options_.max_seq_length);
  for (Dataset& dev : data_.dev) {
    for (const std::string& warning : dev.warnings) say("warning: " + warning);
    TokenizedDataset tokens = tokenize(dev, model_, options_.max_seq_length);
    dev_.push_back({std::move(dev), std::move(tokens)});
  }
  check_metric();
}

/// Finds out before the training, not after its first epoch, that the metric is unknown or that there are no
/// rows to take it on.
void FinetuneJob::check_metric() const {
  if (dev_.empty()) {
    if (options_.load_best_model_at_end || options_.early_stopping_patience) {
      fail(ErrorKind::usage,
           "--load_best_model_at_end and --early_stopping_patience: expected --validation_file, found none");
    }
    return;
  }
  std::vector<Metrics> metrics;
  for (const EvaluationSplit& split : dev_) {
    const auto size = split.dataset.examples.size() * static_cast<size_t>(data_.task.num_labels);
    metrics.push_back(compute_metrics(data_.task, split.dataset, std::vector<double>(size)));
  }
  headline_score(data_.task, merge_metrics(metrics), options_.metric_for_best_model);
}

void FinetuneJob::prepare_model() {
  const MethodOptions& method = options_.method;
  const uint64_t init_seed = options_.init_seed.value_or(options_.seed);
  std::vector<TrainableTensor> trainable = apply_method(model_.bert, method, init_seed);
  if (method.method == "houlsby") model_.adapter = houlsby_settings(model_.bert.config(), method);
  if (method.method == "pfeiffer") model_.adapter = pfeiffer_settings(model_.bert.config(), method);
  if (model_.adapter) model_.adapter->model_name = options_.model_name_or_path.string();
  optimizer_.emplace(std::move(trainable), OptimizerSettings{.kind = find_optimizer(options_.optim),
                                                             .beta1 = options_.adam_beta1,
                                                             .beta2 = options_.adam_beta2,
                                                             .eps = options_.adam_epsilon,
                                                             .weight_decay = options_.weight_decay});
}

void FinetuneJob::describe_model() const {
  for (const std::string& warning : model_.warnings) say("warning: " + warning);
  say(to_text(model_.report));
  const int64_t trainable = trainable_elements(optimizer_->tensors()),
                total = model_.bert.parameters().numel();
  say(fmt::format("method {}: {} of {} parameters are trained ({:.3f} %), head included",
                  options_.method.method, trainable, total,
                  100 * static_cast<double>(trainable) / static_cast<double>(total)));
  say(fmt::format("run {}: {} training rows, {} tokens", run_id_, train_tokens_->size(),
                  train_tokens_->total_tokens()));
}

TrainerSettings FinetuneJob::trainer_settings(const BatchPlan& plan) const {
  const int64_t total_updates = plan.total_updates(options_.num_train_epochs, options_.max_steps);
  const int64_t eval_steps = options_.eval_steps.value_or(options_.logging_steps);
  return {
      .learning_rate = options_.learning_rate,
      .schedule = {.kind = find_schedule(options_.lr_scheduler_type),
                   .warmup_steps = warmup_length(options_.warmup_steps, options_.warmup_ratio, total_updates),
                   .total_steps = total_updates},
      .update = {.batch_size = options_.per_device_train_batch_size,
                 .max_grad_norm = options_.max_grad_norm,
                 .dropout_seed = options_.dropout_seed.value_or(options_.seed)},
      .logging_steps = options_.logging_steps,
      .eval =
          dev_.empty() ? Interval{Interval::Kind::no, 0} : make_interval(options_.eval_strategy, eval_steps),
      .save = make_interval(options_.save_strategy, options_.save_steps),
      .save_total_limit = options_.save_total_limit,
      .early_stopping_patience = options_.early_stopping_patience};
}

void FinetuneJob::make_trainer() {
  const BatchPlan plan{.num_examples = train_tokens_->size(),
                       .batch_size = options_.per_device_train_batch_size,
                       .accumulation_steps = options_.gradient_accumulation_steps};
  log_.emplace(folder_, run_id_);
  trainer_.emplace(model_.bert, *train_tokens_, *optimizer_,
                   DataOrder(plan, options_.data_seed.value_or(options_.seed), options_.shuffle),
                   trainer_settings(plan), *this, *log_, folder_, options_.progress);
  trainer_->state().run = run_id_;
  trainer_->state().options = identity_;
}

// ---- Start and resume

/// The results of a run that has nothing left to do.
std::optional<std::string> FinetuneJob::finished_results() const {
  const fs::path file = folder_ / "all_results.json";
  if (!options_.resume_from_checkpoint || !fs::exists(file)) return std::nullopt;
  const json results = read_json_file(file, ErrorKind::data);
  if (!results.is_object() || results.value("run", json()) != run_id_) return std::nullopt;
  return json_text(results);
}

std::optional<fs::path> FinetuneJob::find_checkpoint() const {
  if (!options_.resume_from.empty()) return options_.resume_from;
  if (!options_.resume_from_checkpoint) return std::nullopt;
  const std::vector<int64_t> steps = checkpoint_steps(folder_);
  if (steps.empty()) {
    say("no checkpoint to resume from: starting from the beginning");
    return std::nullopt;
  }
  return checkpoint_path(folder_, steps.back());
}

void FinetuneJob::start() {
  remove_run_files(folder_);
  make_trainer();
  log_->write("start", start_line());
}

void FinetuneJob::resume(const fs::path& checkpoint) {
  if (!goes_on(options_)) remove_run_files(folder_);
  TrainingState state = read_training_state(checkpoint);
  if (state.run != run_id_) {
    fail(ErrorKind::usage,
         "{}: belongs to another run; these differ: {}; resume it with the same options and files, or start "
         "anew with --overwrite_output_dir",
         checkpoint.string(), describe_differences(identity_, state.options));
  }
  restore_training_tensors(checkpoint, state.step, *optimizer_);
  fs::remove(folder_ / "all_results.json");
  remove_later_checkpoints(folder_, state.step);
  truncate_metrics_log(folder_ / "metrics.jsonl", state.step);
  make_trainer();
  log_->write("resume", {{"step", state.step}, {"path", checkpoint.filename().string()}});
  say(fmt::format("resuming from {} at step {}", checkpoint.string(), state.step));
  trainer_->restore(std::move(state));
}

ordered_json FinetuneJob::start_line() const {
  const int64_t head = model_.bert.parameters().at("classifier.weight").numel() +
                       model_.bert.parameters().at("classifier.bias").numel();
  const int64_t trainable = trainable_elements(optimizer_->tensors()),
                total = model_.bert.parameters().numel();
  ordered_json files;
  const auto add_files = [&](const Dataset& dataset, const json& hashes) {
    for (size_t i = 0; i < dataset.files.size(); ++i) files[dataset.files[i].string()] = hashes[i];
  };
  add_files(data_.train, identity_.at("train_sha256"));
  for (size_t i = 0; i < dev_.size(); ++i) add_files(dev_[i].dataset, identity_.at("dev_sha256")[i]);
  return {{"config", options_json(options_)},
          {"seed", options_.seed},
          {"numbers_version", numbers_version},
          {"compiler", compiler_name()},
          {"cpu", cpu_name()},
          {"instruction_set", cpu_instruction_set()},
          {"num_threads", omp_get_max_threads()},
          {"data_sha256", files},
          {"base_model_sha256", identity_.at("model_sha256").at("weights")},
          {"trainable_parameters", trainable},
          {"total_parameters", total},
          {"trainable_parameters_without_head", trainable - head},
          {"total_parameters_without_head", total - head}};
}

// ---- What the trainer asks for

std::optional<ScoredEvaluation> FinetuneJob::evaluate(const EvaluationProgress& progress) {
  const std::optional<Evaluation> evaluation =
      normtune::evaluate(model_.bert, data_.task, dev_, options_.per_device_eval_batch_size, progress);
  if (!evaluation) return std::nullopt;
  return ScoredEvaluation{
      .results = evaluation_results(dev_, *evaluation, options_.per_device_eval_batch_size),
      .score = headline_score(data_.task, evaluation->metrics, options_.metric_for_best_model)};
}

void FinetuneJob::save_model(const fs::path& folder) {
  normtune::save_model(model_, folder);
}

void FinetuneJob::save_best() {
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
void FinetuneJob::load_best() {
  const fs::path path = folder_ / "best" / best_values_name;
  const SafetensorsFile file(path);
  std::vector<NamedTensor> values;
  for (const std::string& name : file.names()) values.push_back({name, file.read(name)});
  set_trainable_values(optimizer_->tensors(), values, path.string());
}

/// Scores the model that is written. Nothing if a signal stopped it.
std::optional<Evaluation> FinetuneJob::final_evaluation() const {
  // A model that is no longer the last one cannot become a checkpoint: then one must be there to stop.
  const bool may_stop = !is_best_loaded() || fs::exists(checkpoint_path(folder_, trainer_->state().step));
  return normtune::evaluate(model_.bert, data_.task, dev_, options_.per_device_eval_batch_size,
                            [&](int64_t) { return !may_stop || InterruptGuard::signal() == 0; });
}

/// train_results.json, and its line in the log history.
json FinetuneJob::write_train_results(double train_seconds) {
  TrainingState& state = trainer_->state();
  const auto steps = static_cast<double>(trainer_->step_milliseconds().size());
  const auto update_size =
      static_cast<double>(options_.per_device_train_batch_size * options_.gradient_accumulation_steps);
  json results = {{"epoch", trainer_->epoch()},
                  {"total_flos", state.total_flos},
                  {"train_loss", state.total_loss / static_cast<double>(std::max<int64_t>(state.step, 1))},
                  {"train_runtime", train_seconds},
                  {"train_samples_per_second", steps * update_size / train_seconds},
                  {"train_steps_per_second", steps / train_seconds}};
  json line = results;
  line["step"] = state.step;
  state.log_history.push_back(line);
  results["train_samples"] = train_tokens_->size();
  write_results(folder_, "train", results);
  return results;
}

/// eval_results.json, predictions.jsonl, and the line in the log history.
json FinetuneJob::write_eval_results(const Evaluation& evaluation) {
  for (size_t i = 0; i < dev_.size(); ++i) {
    const std::string name = "predictions" + metric_suffix(dev_[i].dataset) + ".jsonl";
    write_logits(dev_[i].dataset, evaluation.logits[i], folder_ / name);
  }
  json results = evaluation_results(dev_, evaluation, options_.per_device_eval_batch_size);
  results["epoch"] = trainer_->epoch();
  write_results(folder_, "eval", results);
  json line = results;
  line["step"] = trainer_->state().step;
  trainer_->state().log_history.push_back(line);
  return results;
}

/// What all_results.json says beside the results of training and evaluation.
json FinetuneJob::summary(const std::optional<Evaluation>& evaluation) const {
  json summary = {{"run", run_id_},
                  {"method", options_.method.method},
                  {"ms_per_step", median_step_time(trainer_->step_milliseconds())},
                  {"peak_rss_bytes", peak_rss_bytes()},
                  {"peak_device_bytes", nullptr},
                  {"total_parameters", model_.bert.parameters().numel()},
                  {"trainable_parameters", trainable_elements(optimizer_->tensors())}};
  if (evaluation) {
    const std::optional<double> score =
        headline_score(data_.task, evaluation->metrics, options_.metric_for_best_model);
    summary["eval_score"] = score ? json(*score) : json();
    summary["degenerate"] = evaluation->metrics.degenerate;
  }
  return summary;
}

FinetuneResult FinetuneJob::finish(double train_seconds) {
  if (is_best_loaded()) load_best();
  std::optional<Evaluation> evaluation;
  if (!dev_.empty()) {
    evaluation = final_evaluation();
    if (!evaluation) return stop_for_signal();
  }
  save_model(folder_);
  if (options_.save_unmerged) {
    write_peft_delta(model_.bert, options_.method, options_.model_name_or_path.string(), folder_ / "peft");
  }
  json all = write_train_results(train_seconds);
  if (evaluation) all.update(write_eval_results(*evaluation));
  write_trainer_state(trainer_->trainer_state(), folder_ / "trainer_state.json");
  all.update(summary(evaluation));
  write_end_line("finished", all);
  write_results(folder_, "all", all);  // the last file: a run that has it is finished
  return {.interrupted_by = 0, .checkpoint = {}, .all_results_json = json_text(all)};
}

FinetuneResult FinetuneJob::stop_for_signal() {
  fs::path checkpoint = checkpoint_path(folder_, trainer_->state().step);
  if (!fs::exists(checkpoint)) checkpoint = trainer_->save_checkpoint();
  write_end_line("interrupted", json::object());
  say(
      fmt::format("interrupted at step {}; {} is written: the same command with --resume_from_checkpoint "
                  "continues from it",
                  trainer_->state().step, checkpoint.string()));
  return {.interrupted_by = InterruptGuard::signal(), .checkpoint = checkpoint, .all_results_json = ""};
}

void FinetuneJob::write_end_line(const char* status, const json& results) {
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

}  // namespace

FinetuneResult finetune(const FinetuneOptions& options) {
  check_finetune_options(options);
  if (!options.overwrite_output_dir && !goes_on(options)) require_empty_run_folder(options.output_dir);
  const FolderLock lock(options.output_dir);
  remove_temporary_run_files(options.output_dir);
  return FinetuneJob(options).run();
}

}  // namespace normtune
