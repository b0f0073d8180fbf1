#include "experiments/pretrain.h"

#include <nlohmann/json.hpp>

#include "experiments/checkpoint_folder.h"
#include "experiments/document_text.h"
#include "experiments/finetune_options.h"
#include "experiments/initial_model.h"
#include "experiments/method.h"
#include "experiments/pretraining_corpus.h"
#include "experiments/pretraining_evaluation.h"
#include "experiments/pretraining_objective.h"
#include "experiments/run_folder.h"
#include "experiments/training_run.h"
#include "nn/sha256.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

/// The held-out examples are drawn and masked alike in all runs, so that their losses can be compared.
constexpr uint64_t held_out_seed = 0;

// ---- Options

void check_sizes(const PretrainOptions& options) {
  require_positive_option("num_hidden_layers", options.num_hidden_layers);
  require_positive_option("hidden_size", options.hidden_size);
  require_positive_option("num_attention_heads", options.num_attention_heads);
  require_positive_option("intermediate_size", options.intermediate_size);
  require_positive_option("vocab_size", options.vocab_size);
  if (options.hidden_size % options.num_attention_heads != 0) {
    fail(ErrorKind::usage, "--num_attention_heads: expected a divisor of --hidden_size {}, found {}",
         options.hidden_size, options.num_attention_heads);
  }
  require_option(options.initializer_range > 0, "initializer_range", "a positive number",
                 options.initializer_range);
  if (options.max_position_embeddings && *options.max_position_embeddings < options.max_seq_length) {
    fail(ErrorKind::usage, "--max_position_embeddings: expected at least --max_seq_length {}, found {}",
         options.max_seq_length, *options.max_position_embeddings);
  }
}

void check_text(const PretrainOptions& options) {
  if (options.corpora == nullptr && options.train_files.empty()) {
    fail(ErrorKind::usage, "--train_files: expected text files (or --corpus), found none");
  }
  if (options.corpora == nullptr) return;
  if (!options.train_files.empty() || !options.validation_files.empty()) {
    fail(ErrorKind::usage, "--corpus: expected no --train_files and --validation_files beside it");
  }
  if (options.no_nsp) {
    fail(ErrorKind::usage,
         "--no_nsp: expected --train_files; a corpus decides whether its examples are pairs");
  }
}

void check_schedule(const PretrainOptions& options) {
  require_option(options.time_limit >= 0, "time_limit", "a number of minutes", options.time_limit);
  if (options.time_limit == 0) return;
  if (options.max_steps > 0)
    fail(ErrorKind::usage, "--time_limit and --max_steps: expected one of them, found both");
  if (options.warmup_steps > 0) {
    fail(ErrorKind::usage,
         "--warmup_steps: with --time_limit the schedule goes by time; expected --warmup_ratio");
  }
}

void check_pretrain_options(const PretrainOptions& options) {
  if (options.output_dir.empty()) fail(ErrorKind::usage, "--output_dir: expected a folder, found none");
  if (!options.model_name_or_path.empty() && lies_in(options.model_name_or_path, options.output_dir)) {
    fail(ErrorKind::usage, "--output_dir {}: the model {} lies in it; choose another folder",
         options.output_dir.string(), options.model_name_or_path.string());
  }
  require_option(options.max_seq_length >= 8, "max_seq_length", "at least 8 tokens",
                 static_cast<double>(options.max_seq_length));
  require_option(options.mlm_probability > 0 && options.mlm_probability < 1, "mlm_probability",
                 "a number above 0 and below 1", options.mlm_probability);
  require_option(options.wrong_pair_share >= 0 && options.wrong_pair_share <= 1, "wrong_pair_share",
                 "a number from 0 to 1", options.wrong_pair_share);
  require_positive_option("max_eval_samples", options.max_eval_samples);
  check_text(options);
  check_schedule(options);
  check_training_options(options);
  if (options.model_name_or_path.empty()) check_sizes(options);
}

std::vector<std::string> names_of(const std::vector<fs::path>& files) {
  std::vector<std::string> names;
  for (const fs::path& file : files) names.push_back(file.string());
  return names;
}

void add_model_options(ordered_json& json, const PretrainOptions& options) {
  json["vocab_size"] = options.vocab_size;
  json["do_lower_case"] = options.do_lower_case;
  json["num_hidden_layers"] = options.num_hidden_layers;
  json["hidden_size"] = options.hidden_size;
  json["num_attention_heads"] = options.num_attention_heads;
  json["intermediate_size"] = options.intermediate_size;
  json["max_position_embeddings"] =
      options.max_position_embeddings ? ordered_json(*options.max_position_embeddings) : ordered_json();
  json["initializer_range"] = options.initializer_range;
}

/// Options that change no number: paths (the content of files is hashed instead), logging, saving.
constexpr const char* not_pretraining_identity[] = {
    "model_name_or_path", "output_dir",    "train_files", "validation_files", "device",
    "logging_steps",      "save_strategy", "save_steps",  "save_total_limit", "overwrite_output_dir"};

json file_hashes(const std::vector<fs::path>& files) {
  json hashes = json::array();
  for (const fs::path& file : files) hashes.push_back(sha256_file(file, ErrorKind::data));
  return hashes;
}

// ---- The job

/// One pre-training from options to the finished folder.
class PretrainRun final : public TrainingRun {
 public:
  explicit PretrainRun(const PretrainOptions& options) : TrainingRun(options), options_(options) {}

  std::optional<ScoredEvaluation> evaluate(const EvaluationProgress& progress) override;

 private:
  void prepare() override;
  void describe() const override;
  ordered_json start_fields() const override;
  bool has_evaluation() const override { return held_out_.has_value(); }
  void adjust(TrainerSettings& settings) const override { settings.keep_best = false; }
  void write_outputs(bool evaluated) override;
  void add_results(json& results, bool evaluated) const override;

  fs::path find_model();
  void load(const fs::path& folder);
  void prepare_data();
  void prepare_optimizer();
  json make_identity() const;
  std::unique_ptr<PretrainingDataset> generated(const PretrainingCorpus& corpus) const;
  std::unique_ptr<PretrainingDataset> documents(const DocumentText& text, uint64_t seed) const;
  void hold_out(const PretrainingDataset& data);
  MaskingSettings masking_settings(uint64_t seed) const;

  const PretrainOptions& options_;
  std::optional<DocumentText> train_text_;
  std::unique_ptr<PretrainingDataset> train_;
  std::optional<Masking> masking_;
  std::optional<HeldOutExamples> held_out_;
};

void PretrainRun::prepare() {
  load(find_model());
  identity_ = make_identity();
  prepare_data();
  prepare_optimizer();
  objective_ = std::make_unique<PretrainingObjective>(*train_, *masking_);
  plan_ = {.num_examples = train_->size(),
           .batch_size = options_.per_device_train_batch_size,
           .accumulation_steps = options_.gradient_accumulation_steps};
  shuffle_ = options_.shuffle && options_.corpora == nullptr;  // a corpus has drawn its order already
}

/// The model to continue from, or a folder with the vocabulary of a new one.
fs::path PretrainRun::find_model() {
  if (!options_.model_name_or_path.empty()) return options_.model_name_or_path;
  fs::path initial = folder() / initial_model_name;
  // Where there is a checkpoint, its run has learned the vocabulary, and a resume checks that all options are
  // that run's.
  const bool has_checkpoint = !options_.resume_from.empty() || !checkpoint_steps(folder()).empty();
  if (goes_on(options_) && has_checkpoint && fs::exists(initial / "config.json")) return initial;
  // What is wrong with the held-out text is told before minutes are spent on the other.
  read_paragraphs(options_.validation_files, [](bool, std::string_view) {});
  say("learning the vocabulary");
  say("vocabulary: " + write_initial_model(initial, options_));
  return initial;
}

void PretrainRun::load(const fs::path& folder) {
  model_ = load_model(folder, {.head = BertHead::pretraining,
                               .dtype = use_precision(options_.precision, options_.device),
                               .device = options_.device,
                               .fresh_pooler = options_.fresh_pooler,
                               .random_init = options_.model_name_or_path.empty(),
                               .init_seed = options_.init_seed.value_or(options_.seed)});
  model_->bert.set_dropout(options_.hidden_dropout_prob, options_.attention_probs_dropout_prob, std::nullopt);
  const BertConfig& config = model_->bert.config();
  if (options_.max_seq_length > config.max_position_embeddings) {
    fail(ErrorKind::usage, "--max_seq_length: expected at most the model's {} positions, found {}",
         config.max_position_embeddings, options_.max_seq_length);
  }
  if (!options_.no_nsp && config.type_vocab_size < 2) {
    fail(ErrorKind::model,
         "{}: the model has one token type (type_vocab_size 1), but next-sentence pairs take two; expected "
         "--no_nsp",
         folder.string());
  }
}

std::unique_ptr<PretrainingDataset> PretrainRun::generated(const PretrainingCorpus& corpus) const {
  return std::make_unique<CorpusDataset>(corpus, model_->tokenizer, options_.max_seq_length);
}

std::unique_ptr<PretrainingDataset> PretrainRun::documents(const DocumentText& text, uint64_t seed) const {
  return std::make_unique<DocumentDataset>(text, model_->tokenizer,
                                           DocumentSettings{.max_seq_length = options_.max_seq_length,
                                                            .next_sentence = !options_.no_nsp,
                                                            .wrong_pair_share = options_.wrong_pair_share,
                                                            .seed = seed});
}

void PretrainRun::prepare_data() {
  const uint64_t data_seed = options_.data_seed.value_or(options_.seed);
  if (options_.corpora) {
    train_ = generated(*options_.corpora->train);
    if (options_.corpora->validation) hold_out(*generated(*options_.corpora->validation));
  } else {
    train_text_.emplace(options_.train_files, model_->tokenizer);
    train_ = documents(*train_text_, data_seed);
  }
  if (!options_.validation_files.empty()) {
    const DocumentText text(options_.validation_files, model_->tokenizer);
    hold_out(*documents(text, held_out_seed));
  }
  masking_.emplace(model_->tokenizer, masking_settings(data_seed));
}

void PretrainRun::hold_out(const PretrainingDataset& data) {
  const Masking masking(model_->tokenizer, masking_settings(held_out_seed));
  held_out_ = draw_held_out(data, masking, options_.max_eval_samples);
}

MaskingSettings PretrainRun::masking_settings(uint64_t seed) const {
  return {
      .mlm_probability = options_.mlm_probability, .whole_word_mask = options_.whole_word_mask, .seed = seed};
}

/// All parameters are trained, but without pairs nothing reaches the pooler and its head.
void PretrainRun::prepare_optimizer() {
  const MethodOptions all{.train_params =
                              options_.no_nsp ? "bert.embeddings.*,bert.encoder.*,cls.predictions.*" : "*"};
  optimizer_.emplace(apply_method(model_->bert, all, options_.seed),
                     OptimizerSettings{.kind = find_optimizer(options_.optim),
                                       .beta1 = options_.adam_beta1,
                                       .beta2 = options_.adam_beta2,
                                       .eps = options_.adam_epsilon,
                                       .weight_decay = options_.weight_decay});
}

json PretrainRun::make_identity() const {
  json identity = options_json(options_);
  for (const char* key : not_pretraining_identity) identity.erase(key);
  identity["numbers_version"] = numbers_version;
  identity["device_type"] = options_.device.type == DeviceType::cpu ? "cpu" : "cuda";
  identity["model_sha256"] = model_hashes(*model_);
  identity["train_sha256"] = file_hashes(options_.train_files);
  identity["validation_sha256"] = file_hashes(options_.validation_files);
  return identity;
}

void PretrainRun::describe() const {
  for (const std::string& warning : model_->warnings) warn(warning);
  if (!options_.model_name_or_path.empty()) say(to_text(model_->report));
  const BertConfig& config = model_->bert.config();
  say(fmt::format("model: {} layers, hidden size {}, {} parameters of which {} are trained",
                  config.num_hidden_layers, config.hidden_size, model_->bert.parameters().numel(),
                  trainable_elements(optimizer_->tensors())));
  if (train_text_) {
    say(fmt::format("text: {} documents, {} tokens", train_text_->num_documents(),
                    train_text_->tokens().size()));
  }
  if (!has_evaluation()) say("no --validation_files: nothing is held out, no loss on unseen text is shown");
  say(fmt::format("run {}: {} examples of up to {} tokens in an epoch", id(), train_->size(),
                  options_.max_seq_length));
}

ordered_json PretrainRun::start_fields() const {
  ordered_json files = ordered_json::object();
  for (size_t i = 0; i < options_.train_files.size(); ++i) {
    files[options_.train_files[i].string()] = identity_.at("train_sha256")[i];
  }
  for (size_t i = 0; i < options_.validation_files.size(); ++i) {
    files[options_.validation_files[i].string()] = identity_.at("validation_sha256")[i];
  }
  return {{"config", options_json(options_)},
          {"seed", options_.seed},
          {"data_sha256", files},
          {"base_model_sha256", identity_.at("model_sha256").at("weights")},
          {"trainable_parameters", trainable_elements(optimizer_->tensors())},
          {"total_parameters", model_->bert.parameters().numel()}};
}

std::optional<ScoredEvaluation> PretrainRun::evaluate(const EvaluationProgress& progress) {
  const std::optional<PretrainingEvaluation> evaluation =
      evaluate_pretraining(model_->bert, *held_out_, options_.per_device_eval_batch_size, progress);
  if (!evaluation) return std::nullopt;
  return ScoredEvaluation{.results = pretraining_results(*evaluation), .score = -evaluation->loss()};
}

/// The held-out examples, so that others can repeat the final evaluation.
void PretrainRun::write_outputs(bool evaluated) {
  if (evaluated) write_held_out(*held_out_, folder() / "held_out.jsonl");
}

void PretrainRun::add_results(json& results, bool) const {
  results["vocab_size"] = model_->tokenizer.vocab_size();
}

}  // namespace

ordered_json options_json(const PretrainOptions& options) {
  ordered_json json;
  json["model_name_or_path"] = options.model_name_or_path.string();
  json["output_dir"] = options.output_dir.string();
  json["train_files"] = names_of(options.train_files);
  json["validation_files"] = names_of(options.validation_files);
  if (options.corpora) {
    json["train_corpus"] = options.corpora->train->identity();
    if (options.corpora->validation) json["validation_corpus"] = options.corpora->validation->identity();
  }
  json["max_eval_samples"] = options.max_eval_samples;
  json["max_seq_length"] = options.max_seq_length;
  json["no_nsp"] = options.no_nsp;
  json["wrong_pair_share"] = options.wrong_pair_share;
  json["mlm_probability"] = options.mlm_probability;
  json["whole_word_mask"] = options.whole_word_mask;
  json["time_limit"] = options.time_limit;
  if (options.model_name_or_path.empty()) add_model_options(json, options);
  json["fresh_pooler"] = options.fresh_pooler;
  add_training_options(json, options);
  add_evaluation_options(json, options);
  add_device_options(json, options);
  return json;
}

TrainingResult pretrain(const PretrainOptions& options) {
  check_pretrain_options(options);
  if (!options.overwrite_output_dir && !goes_on(options)) {
    require_empty_run_folder(options.output_dir, CanResume::yes);
  }
  const FolderLock lock(options.output_dir);
  remove_temporary_run_files(options.output_dir);
  return PretrainRun(options).run();
}

}  // namespace normtune
