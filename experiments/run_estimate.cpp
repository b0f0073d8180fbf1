#include "experiments/run_estimate.h"

#include <omp.h>

#include <algorithm>
#include <cstdlib>

#include "experiments/bench.h"
#include "experiments/finetune_options.h"
#include "experiments/mask_rows.h"
#include "experiments/step_work.h"
#include "nn/bert_config.h"
#include "nn/model.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

constexpr double characters_per_token = 4.3, special_tokens = 3;
/// Layers of the measured model; what a layer more adds is known from it and from one with a layer less.
constexpr int64_t measured_layers = 3;

/// Bytes of text of a training row, usual for the task.
double usual_characters(const std::string& task) {
  static const std::map<std::string, double> lengths = {{"cola", 41},  {"sst2", 54},  {"mrpc", 237},
                                                        {"qqp", 120},  {"stsb", 115}, {"mnli", 170},
                                                        {"qnli", 230}, {"rte", 320},  {"wnli", 149}};
  const auto found = lengths.find(task);
  return found == lengths.end() ? 150 : found->second;
}

/// Stands for the files of a task that are not there.
TaskInputs published_inputs(const ComparisonOptions& options, const std::string& name) {
  const Task& task = find_task(name);
  const std::vector<int64_t>& rows = find_split(task, "train").expected_rows;
  TaskInputs inputs{.metric = task.default_metric,
                    .hashes = {{"train", ""}, {"dev", ""}, {"test_labelled", ""}}};
  inputs.train_rows = std::min(options.finetune.task.max_train_samples, rows.empty() ? 1 : rows.front());
  inputs.train_characters =
      static_cast<int64_t>(static_cast<double>(inputs.train_rows) * usual_characters(name));
  return inputs;
}

/// The inputs as far as their files are there; false for what had to be guessed.
struct KnownInputs {
  ComparisonInputs inputs;
  bool has_model = true;
  std::map<std::string, bool> has_task;
};

/// What read_comparison_inputs() says of one task, or nothing if its files are not there.
std::optional<ComparisonInputs> try_read(ComparisonOptions options, const std::string& task,
                                         const std::vector<std::string>& rows) {
  if (!task.empty()) options.tasks = {task};
  options.rows = rows;
  try {
    return read_comparison_inputs(options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::model && error.kind() != ErrorKind::data &&
        error.kind() != ErrorKind::usage)
      throw;
    return std::nullopt;
  }
}

KnownInputs read_known_inputs(const ComparisonOptions& options) {
  const fs::path base = base_model_folder(options.finetune.model_name_or_path);
  KnownInputs known{.has_model = !find_weights(base).empty()};
  known.inputs.model = nlohmann::json::object();
  // Rows that need no weights do not ask for them.
  const std::vector<std::string> rows =
      known.has_model ? options.rows : std::vector<std::string>{"full@untrained"};
  for (const std::string& task : task_names(options)) {
    std::optional<ComparisonInputs> inputs = try_read(options, task, rows);
    known.has_task[task] = inputs.has_value();
    known.inputs.tasks[task] = inputs ? inputs->tasks.at(task) : published_inputs(options, task);
    if (inputs) known.inputs.model = inputs->model;
    if (inputs) known.inputs.mask = inputs->mask;
  }
  return known;
}

/// What training by a method costs for each token, with all of the model's layers.
struct TokenCost {
  double gflop = 0;
  double gflops = 0;  ///< reached per second
  double saved_bytes = 0;
  double fixed_bytes = 0;  ///< weights, gradients and moments
};

StepBenchResult bench(const BertConfig& config, int64_t layers, const MethodOptions& method) {
  StepBenchOptions options{.config = config, .method = method, .batches = {{64, 64, 64, 64}}, .repeats = 3};
  options.config.num_hidden_layers = layers;
  options.config.vocab_size = std::min<int64_t>(config.vocab_size, 1000);  // embeddings cost no products
  options.config.max_position_embeddings = std::max<int64_t>(config.max_position_embeddings, 64);
  return bench_step(options);
}

/// Masks of output.LayerNorm cost what its gradients do.
MethodOptions measured_method(const FinetuneOptions& run) {
  MethodOptions method = run.method;
  if (method.method == "mask") method.method = "layernorm";
  method.mask.clear();
  return method;
}

TokenCost measure_tokens(const BertConfig& config, const FinetuneOptions& run) {
  const MethodOptions method = measured_method(run);
  const StepBenchResult more = bench(config, measured_layers, method),
                        less = bench(config, measured_layers - 1, method);
  const auto further = static_cast<double>(config.num_hidden_layers - measured_layers);
  const auto extrapolated = [&](double with_more, double with_less) {
    return with_more + further * (with_more - with_less);
  };
  const double tokens = more.tokens_per_second * more.ms_per_step / 1000;
  const auto hidden = static_cast<double>(config.hidden_size);
  const double words =
      hidden * static_cast<double>(config.vocab_size - std::min<int64_t>(config.vocab_size, 1000));
  const double total = words + extrapolated(static_cast<double>(more.total_parameters),
                                            static_cast<double>(less.total_parameters));
  const double trainable = (run.method.method == "full" ? words : 0) +
                           extrapolated(static_cast<double>(more.trainable_parameters),
                                        static_cast<double>(less.trainable_parameters));
  return {.gflop = extrapolated(more.needed_gflops, less.needed_gflops) / tokens,
          .gflops = more.needed_gflops / (more.ms_per_step / 1000),
          .saved_bytes = more.saved_bytes_per_token_layer * static_cast<double>(config.num_hidden_layers),
          .fixed_bytes = 4 * total + 12 * trainable};
}

/// Tokens of a training row.
double tokens_of_row(const ComparedRun& run, const TaskInputs& task, const BertConfig& config) {
  const double characters = static_cast<double>(task.train_characters) / static_cast<double>(task.train_rows);
  const auto longest =
      static_cast<double>(std::min(run.options.max_seq_length, config.max_position_embeddings));
  return std::min(longest, characters / characters_per_token + special_tokens);
}

RunEstimate estimate_run(const ComparedRun& run, const TaskInputs& task, const BertConfig& config,
                         const TokenCost& cost) {
  const double rows_read =
      run.work * static_cast<double>(task.train_rows) / static_cast<double>(task.train_characters);
  const double row = tokens_of_row(run, task, config);
  const double gflop = cost.gflop * row * rows_read;
  const auto batch = static_cast<double>(run.options.per_device_train_batch_size);
  return {.tflop = gflop / 1000,
          .seconds = gflop / cost.gflops,
          .memory_bytes = static_cast<int64_t>(cost.fixed_bytes + cost.saved_bytes * row * batch)};
}

}  // namespace

std::vector<EstimatedRun> estimate_runs(ComparisonOptions options) {
  check_comparison_options(options);
  check_mask_file(options);
  omp_set_num_threads(static_cast<int>(options.num_threads));  // what a run will have
  const KnownInputs known = read_known_inputs(options);
  MaskRows(options, known.inputs, {}).fill(options);
  const std::vector<ComparedRun> runs = plan_runs(options, known.inputs);
  const BertConfig config = read_bert_config(base_model_folder(options.finetune.model_name_or_path));
  std::map<std::string, TokenCost> costs;
  std::vector<EstimatedRun> estimates;
  for (const RunListing& listing : list_runs(options.shard, runs)) {
    const ComparedRun& run = listing.run;
    const std::string& task = run.options.task.task_name;
    const std::string method = measured_method(run.options).method;
    if (!costs.contains(method)) costs[method] = measure_tokens(config, run.options);
    EstimatedRun estimated{.run = run, .state = listing.state};
    estimated.estimate = estimate_run(run, known.inputs.tasks.at(task), config, costs[method]);
    if (listing.estimated_seconds) {
      estimated.estimate.seconds = *listing.estimated_seconds;
      estimated.estimate.measured = true;
    }
    const bool has_mask =
        !has_own_masks(run.row) || !run.identity.at("mask_sha256").get_ref<const std::string&>().empty();
    estimated.has_id = (known.has_model || run.options.random_init) && known.has_task.at(task) && has_mask;
    estimates.push_back(std::move(estimated));
  }
  return estimates;
}

}  // namespace normtune
