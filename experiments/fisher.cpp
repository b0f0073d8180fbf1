#include "experiments/fisher.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "autograd/multiply.h"
#include "autograd/sum.h"
#include "experiments/finetune_options.h"
#include "experiments/model_data.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

// ---- The gradient of log p with respect to the logits, per example
//
// Fisher information is a mean of squares of J^T s: J = d logits / dw of one example, s = d log p / d logits.
// All passes below have the same J and differ in s, the seed of the backward pass.

/// softmax(logits)
std::vector<double> probabilities(std::span<const double> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> probs;
  for (const double logit : logits) probs.push_back(std::exp(logit - largest));
  const double sum = std::accumulate(probs.begin(), probs.end(), 0.0);
  for (double& p : probs) p /= sum;
  return probs;
}

/// Observed class y: s_i = [i == y] - p_i.
void observed_seed(std::span<const double> logits, int32_t label, std::span<double> seed) {
  const std::vector<double> probs = probabilities(logits);
  for (size_t i = 0; i < probs.size(); ++i) seed[i] = (static_cast<int32_t>(i) == label ? 1 : 0) - probs[i];
}

/// The expected form sums p_c (J^T s_c)^2 over C classes. Their seeds have the covariance
///   sum over c of p_c s_c s_c^T = diag(p) - p p^T = sum over k of l_k l_k^T,
/// of rank C - 1, so that C - 1 passes with the columns l_k of its Cholesky factor give the same sum of
/// squares. Column k tells class k from the classes behind it, whose probabilities have the sum r:
///   l_k[k] = sqrt(p_k r / (p_k + r)),   l_k[i] = -l_k[k] p_i / r  for i > k.
void expected_seed(std::span<const double> logits, size_t k, std::span<double> seed) {
  const std::vector<double> probs = probabilities(logits);
  double rest = 0;
  for (size_t i = k + 1; i < probs.size(); ++i) rest += probs[i];
  if (rest == 0) return;  // the seed stays zero
  seed[k] = std::sqrt(probs[k] * rest / (probs[k] + rest));
  for (size_t i = k + 1; i < probs.size(); ++i) seed[i] = -seed[k] * probs[i] / rest;
}

void check_logits(const std::vector<double>& logits, size_t num_labels, const Tensor& example_ids) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isfinite(logits[i])) continue;
    fail(ErrorKind::numeric,
         "row {} of the data: expected finite logits, found {}; the model's weights hold values that are not "
         "finite or too large",
         example_ids.to_vector<int64_t>()[i / num_labels], logits[i]);
  }
}

/// The seeds of one pass, [batch_size, num_labels].
Tensor make_seeds(const Tensor& logits, const PackedBatch& batch, const Tensor& labels, FisherKind kind,
                  size_t pass) {
  const auto num_labels = static_cast<size_t>(logits.size(1));
  const std::vector<double> values = logits.to(Device{}).to(DType::float64).to_vector<double>();
  check_logits(values, num_labels, batch.cls_example_ids);
  const bool regression = is_floating(labels.dtype());
  const std::vector<double> targets = regression ? labels.to_vector<double>() : std::vector<double>();
  const std::vector<int32_t> classes = regression ? std::vector<int32_t>() : labels.to_vector<int32_t>();
  std::vector<double> seeds(values.size(), 0.0);
  for (size_t row = 0; row < static_cast<size_t>(batch.batch_size); ++row) {
    const std::span row_logits = std::span(values).subspan(row * num_labels, num_labels);
    const std::span seed = std::span(seeds).subspan(row * num_labels, num_labels);
    if (regression) {
      seed[0] = kind == FisherKind::expected ? 1 : targets[row] - row_logits[0];
    } else if (kind == FisherKind::expected) {
      expected_seed(row_logits, pass, seed);
    } else {
      observed_seed(row_logits, classes[row], seed);
    }
  }
  return Tensor::from_values(logits.shape(), seeds).to(logits.dtype()).to(logits.device());
}

}  // namespace

void add_squared_scores(const Bert& model, const PackedBatch& batch, const Tensor& labels, FisherKind kind) {
  const int64_t num_labels = model.config().num_labels();
  const int64_t passes = kind == FisherKind::empirical ? 1 : std::max<int64_t>(1, num_labels - 1);
  for (int64_t pass = 0; pass < passes; ++pass) {
    const Variable logits = model.classify(batch, {.training = false});
    const Variable seeds(make_seeds(logits.tensor(), batch, labels, kind, static_cast<size_t>(pass)));
    sum(multiply(logits, seeds)).backward_squares(batch.cu_seqlens);
  }
}

namespace {

/// Gradients of all parameters are wanted for its lifetime.
class AllTrainable {
 public:
  explicit AllTrainable(Bert& model) : model_(model) {
    for (Parameter& parameter : model_.parameters()) {
      trainable_.push_back(parameter.variable.requires_grad());
      parameter.variable.zero_grad();
      parameter.variable.set_requires_grad(true);
    }
  }
  ~AllTrainable() {
    size_t i = 0;
    for (Parameter& parameter : model_.parameters()) {
      parameter.variable.zero_grad();
      parameter.variable.set_requires_grad(trainable_[i++]);
    }
  }
  AllTrainable(const AllTrainable&) = delete;
  AllTrainable& operator=(const AllTrainable&) = delete;

 private:
  Bert& model_;
  std::vector<bool> trainable_;
};

/// The gradients divided by the number of examples, in the memory of the host.
std::vector<NamedTensor> take_means(const Bert& model, int64_t num_examples) {
  std::vector<NamedTensor> means;
  for (const Parameter& parameter : model.parameters()) {
    const Tensor& squares = parameter.variable.grad();
    squares.backend().scale(squares, 1.0 / static_cast<double>(num_examples), squares);
    means.push_back({parameter.name, squares.to(Device{})});
  }
  return means;
}

}  // namespace

std::optional<std::vector<NamedTensor>> diagonal_fisher(Bert& model, const TokenizedDataset& data,
                                                        FisherKind kind, int64_t batch_size,
                                                        const EvaluationProgress& progress) {
  check(data.size() > 0 && batch_size > 0, "diagonal_fisher: expected examples and a batch size");
  const AllTrainable all_trainable(model);
  std::vector<int64_t> indices;
  for (int64_t begin = 0; begin < data.size(); begin += batch_size) {
    if (progress && !progress(begin)) return std::nullopt;
    indices.resize(static_cast<size_t>(std::min(batch_size, data.size() - begin)));
    std::iota(indices.begin(), indices.end(), begin);
    add_squared_scores(model, data.batch(indices, model.device()), data.labels(indices, DType::float64),
                       kind);
  }
  return take_means(model, data.size());
}

// ---- From options to a measurement

namespace {

/// The classes that own files are read with: those of a fine-tuned model that names them, else the file's
/// own.
std::vector<std::string> classes_of_model(const fs::path& folder) {
  const BertConfig config = read_bert_config(base_model_folder(folder));
  return has_default_label_names(config.id2label) ? std::vector<std::string>() : config.id2label;
}

/// The rows of the one split, the first num_samples of them.
TaskSplits load_rows(const FisherOptions& options) {
  TaskOptions task = options.task;
  if (options.num_samples) task.max_train_samples = task.max_eval_samples = *options.num_samples;
  TaskSplits rows = load_task_splits(task, options.split, classes_of_model(options.model_name_or_path));
  if (rows.splits.size() != 1) {
    fail(ErrorKind::usage, "--split {}: expected one split, found {}; choose {}", options.split,
         rows.splits.size(), rows.splits.front().split);
  }
  if (!rows.splits.front().labelled && !options.expected) {
    fail(ErrorKind::usage,
         "--split {}: its rows have no labels; expected labels, or --expected, which needs none",
         options.split);
  }
  return rows;
}

Model load_for_task(const FisherOptions& options, const Task& task) {
  Model model =
      load_model(options.model_name_or_path,
                 {.head = BertHead::classification,
                  .dtype = use_precision(options.precision, options.device),
                  .device = options.device,
                  .label_names = task.regression ? std::vector<std::string>{"LABEL_0"} : task.label_names,
                  .regression = task.regression,
                  .fresh_pooler = options.fresh_pooler,
                  .init_seed = options.init_seed});
  model.bert.set_last_layer_cls_only(options.last_layer_cls_only);
  const int64_t num_positions = model.bert.config().max_position_embeddings;
  if (options.max_seq_length > num_positions) {
    fail(ErrorKind::usage, "--max_seq_length: expected at most the model's {} positions, found {}",
         num_positions, options.max_seq_length);
  }
  return model;
}

/// AdapterHub's seq_bn applies a block's LayerNorm twice, so that its gradient is a sum over two ops: squares
/// of single examples cannot be taken at either.
void refuse_shared_layer_norms(const Model& model) {
  if (!model.adapter || !model.adapter->original_ln_before) return;
  fail(ErrorKind::model,
       "{}: its adapters (one per block, after the LayerNorm) use each output.LayerNorm twice, which Fisher "
       "information is not computed for; expected a model without them, or with those of houlsby",
       model.folder.string());
}

FisherSource source_of(const FisherInput& input, const FisherOptions& options) {
  FisherSource source{.kind = options.expected ? FisherKind::expected : FisherKind::empirical,
                      .regression = input.tokens.regression(),
                      .model = options.model_name_or_path.string(),
                      .task = input.task.name,
                      .split = input.dataset.split,
                      .samples = input.tokens.size(),
                      .max_seq_length = options.max_seq_length,
                      .precision = to_string(options.precision),
                      .init_seed = options.init_seed,
                      .fresh = input.model.report.fresh,
                      .model_sha256 = model_hashes(input.model),
                      .data_sha256 = data_hashes(input.dataset)};
  return source;
}

}  // namespace

FisherInput load_fisher_input(const FisherOptions& options) {
  TaskSplits rows = load_rows(options);
  Model model = load_for_task(options, rows.task);
  refuse_shared_layer_norms(model);
  Dataset& dataset = rows.splits.front();
  if (!rows.task.regression) map_labels(dataset, model.bert.config().id2label);
  TokenizedDataset tokens = tokenize(dataset, model, options.max_seq_length);
  return {std::move(model), std::move(rows.task), std::move(dataset), std::move(tokens)};
}

std::optional<FisherMeasurement> measure_fisher(FisherInput& input, const FisherOptions& options,
                                                const EvaluationProgress& progress) {
  FisherSource source = source_of(input, options);
  std::optional<std::vector<NamedTensor>> elements =
      diagonal_fisher(input.model.bert, input.tokens, source.kind, options.batch_size, progress);
  if (!elements) return std::nullopt;
  FisherReport report = make_fisher_report(std::move(source), *elements);
  return FisherMeasurement{std::move(report), std::move(*elements)};
}

}  // namespace normtune
