#include "experiments/finetune.h"

#include <nlohmann/json.hpp>

#include "experiments/classification_objective.h"
#include "experiments/finetune_options.h"
#include "experiments/model_data.h"
#include "experiments/peft_export.h"
#include "experiments/run_folder.h"
#include "experiments/submission.h"
#include "experiments/training_run.h"
#include "nn/mask_file.h"
#include "nn/model.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

/// The names that a new classifier gets: the task's classes, or one for a regression.
std::vector<std::string> label_names_of(const Task& task) {
  return task.regression ? std::vector<std::string>{"LABEL_0"} : task.label_names;
}

Model load_base_model(const FinetuneOptions& options, const Task& task) {
  Model model =
      load_model(options.model_name_or_path, {.head = BertHead::classification,
                                              .dtype = use_precision(options.precision, options.device),
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

// ---- The job

/// One fine-tuning from options to the finished folder.
class FinetuneRun final : public TrainingRun {
 public:
  explicit FinetuneRun(const FinetuneOptions& options)
      : TrainingRun(options), options_(options), data_(load_task_data(options.task)) {}

  std::optional<ScoredEvaluation> evaluate(const EvaluationProgress& progress) override;

 private:
  void prepare() override;
  void describe() const override;
  void warn_of_other_base() const;
  ordered_json start_fields() const override;
  bool has_evaluation() const override { return !dev_.empty(); }
  void write_outputs(bool evaluated) override;
  void add_results(json& results, bool evaluated) const override;

  void prepare_data();
  void check_metric() const;
  void prepare_model();
  void check_export();
  std::string base_model() const;

  const FinetuneOptions& options_;
  TaskData data_;
  std::optional<TokenizedDataset> train_tokens_;
  std::vector<EvaluationSplit> dev_;
  std::optional<Evaluation> evaluation_;  // the latest
};

void FinetuneRun::prepare() {
  model_ = load_base_model(options_, data_.task);
  identity_ = run_identity(options_, *model_, data_);
  prepare_data();
  prepare_model();
  objective_ = std::make_unique<ClassificationObjective>(*train_tokens_);
  plan_ = {.num_examples = train_tokens_->size(),
           .batch_size = options_.per_device_train_batch_size,
           .accumulation_steps = options_.gradient_accumulation_steps};
  shuffle_ = options_.shuffle;
}

void FinetuneRun::prepare_data() {
  const std::vector<std::string>& id2label = model_->bert.config().id2label;
  if (!data_.task.regression) {
    map_labels(data_.train, id2label);
    for (Dataset& dev : data_.dev) map_labels(dev, id2label);
  }
  for (const std::string& warning : data_.train.warnings) warn(warning);
  train_tokens_ = tokenize(data_.train, *model_, options_.max_seq_length);
  for (Dataset& dev : data_.dev) {
    for (const std::string& warning : dev.warnings) warn(warning);
    TokenizedDataset tokens = tokenize(dev, *model_, options_.max_seq_length);
    dev_.push_back({std::move(dev), std::move(tokens)});
  }
  check_metric();
}

/// Finds out before the training, not after its first epoch, that the metric is unknown or that there are no
/// rows to take it on.
void FinetuneRun::check_metric() const {
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

/// A delta names its base in full, so that it can be read from any working directory.
std::string FinetuneRun::base_model() const {
  return fs::absolute(options_.model_name_or_path).lexically_normal().string();
}

/// What cannot be exported is refused before the training, not after it.
void FinetuneRun::check_export() {
  if (!options_.save_unmerged) return;
  if (model_->base_folder != model_->folder) {
    fail(ErrorKind::usage, "--save_unmerged: expected a whole model as base, found the delta {}",
         model_->folder.string());
  }
  require_peft_form(model_->bert, options_.method);
}

void FinetuneRun::prepare_model() {
  const MethodOptions& method = options_.method;
  const uint64_t init_seed = options_.init_seed.value_or(options_.seed);
  std::vector<TrainableTensor> trainable = apply_method(model_->bert, method, init_seed);
  check_export();
  if (method.method == "houlsby") model_->adapter = houlsby_settings(model_->bert.config(), method);
  if (method.method == "pfeiffer") model_->adapter = pfeiffer_settings(model_->bert.config(), method);
  if (model_->adapter) model_->adapter->model_name = base_model();
  model_->bert.leave_frozen_weights_rounded();
  optimizer_.emplace(std::move(trainable), OptimizerSettings{.kind = find_optimizer(options_.optim),
                                                             .beta1 = options_.adam_beta1,
                                                             .beta2 = options_.adam_beta2,
                                                             .eps = options_.adam_epsilon,
                                                             .weight_decay = options_.weight_decay});
}

/// A mask of a pre-trained model may be meant for a further-trained one, but not by mistake.
void FinetuneRun::warn_of_other_base() const {
  if (options_.method.method != "mask") return;
  const std::string expected = read_mask(options_.method.mask).origin.base_model_sha256,
                    found = identity_.at("model_sha256").at("weights");
  if (expected.empty() || found == expected) return;
  warn(
      fmt::format("{}: the mask was made for weights with SHA-256 {}..., {} has {}; its elements are trained "
                  "all the same",
                  options_.method.mask.string(), expected.substr(0, 12), model_->folder.string(),
                  found.empty() ? "none" : found.substr(0, 12) + "..."));
}

void FinetuneRun::describe() const {
  for (const std::string& warning : model_->warnings) warn(warning);
  warn_of_other_base();
  say(to_text(model_->report));
  const int64_t trainable = trainable_elements(optimizer_->tensors()),
                total = model_->bert.parameters().numel();
  say(fmt::format("method {}: {} of {} parameters are trained ({:.3f} %), head included",
                  options_.method.method, trainable, total,
                  100 * static_cast<double>(trainable) / static_cast<double>(total)));
  say(fmt::format("run {}: {} training rows, {} tokens", id(), train_tokens_->size(),
                  train_tokens_->total_tokens()));
}

ordered_json FinetuneRun::start_fields() const {
  const int64_t head = model_->bert.parameters().at("classifier.weight").numel() +
                       model_->bert.parameters().at("classifier.bias").numel();
  const int64_t trainable = trainable_elements(optimizer_->tensors()),
                total = model_->bert.parameters().numel();
  ordered_json files;
  const auto add_files = [&](const Dataset& dataset, const json& hashes) {
    for (size_t i = 0; i < dataset.files.size(); ++i) files[dataset.files[i].string()] = hashes[i];
  };
  add_files(data_.train, identity_.at("train_sha256"));
  for (size_t i = 0; i < dev_.size(); ++i) add_files(dev_[i].dataset, identity_.at("dev_sha256")[i]);
  return {{"config", options_json(options_)},
          {"seed", options_.seed},
          {"data_sha256", files},
          {"base_model_sha256", identity_.at("model_sha256").at("weights")},
          {"trainable_parameters", trainable},
          {"total_parameters", total},
          {"trainable_parameters_without_head", trainable - head},
          {"total_parameters_without_head", total - head}};
}

// ---- Evaluation and results

std::optional<ScoredEvaluation> FinetuneRun::evaluate(const EvaluationProgress& progress) {
  evaluation_ =
      normtune::evaluate(model_->bert, data_.task, dev_, options_.per_device_eval_batch_size, progress);
  if (!evaluation_) return std::nullopt;
  return ScoredEvaluation{
      .results = evaluation_results(dev_, *evaluation_, options_.per_device_eval_batch_size),
      .score = headline_score(data_.task, evaluation_->metrics, options_.metric_for_best_model)};
}

/// predictions.jsonl of the final evaluation, and peft/ if it was asked for.
void FinetuneRun::write_outputs(bool evaluated) {
  if (options_.save_unmerged) {
    write_peft_delta(model_->bert, options_.method, base_model(), folder() / "peft");
  }
  for (size_t i = 0; evaluated && i < dev_.size(); ++i) {
    const std::string name = "predictions" + metric_suffix(dev_[i].dataset) + ".jsonl";
    write_logits(dev_[i].dataset, evaluation_->logits[i], folder() / name);
  }
}

void FinetuneRun::add_results(json& results, bool evaluated) const {
  results["method"] = options_.method.method;
  if (evaluated) results["degenerate"] = evaluation_->metrics.degenerate;
}

}  // namespace

TrainingResult finetune(const FinetuneOptions& options) {
  check_finetune_options(options);
  if (!options.overwrite_output_dir && !goes_on(options)) {
    require_empty_run_folder(options.output_dir, CanResume::yes);
  }
  const FolderLock lock(options.output_dir);
  remove_temporary_run_files(options.output_dir);
  return FinetuneRun(options).run();
}

}  // namespace normtune
