#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "experiments/component_groups.h"
#include "experiments/evaluation.h"
#include "experiments/task_data.h"
#include "nn/model.h"
#include "tensor/precision.h"

namespace normtune {

/// Which squared gradients the diagonal Fisher information is the mean of, over the examples x:
enum class FisherKind {
  empirical,  ///< (d log p(y | x) / dw)^2 with the observed label y: the paper's formula
  expected,   ///< sum over the classes c of p(c | x) (d log p(c | x) / dw)^2: labels do not matter
};

// A regression has the likelihood of a normal distribution with variance 1 about the prediction f:
//   log p(y | x) = -(y - f(x))^2 / 2 + constant
//   empirical: ((y - f) df/dw)^2        expected: (df/dw)^2, since y has variance 1 about f

/// Adds to grad() of every trainable parameter the sum over the examples of a batch of what `kind` says, with
/// dropout off. `labels`: classes [batch_size] int32, or scores [batch_size] float64, which make it a
/// regression. Throws Error(numeric) naming the row if a logit is not finite.
void add_squared_scores(const Bert& model, const PackedBatch& batch, const Tensor& labels, FisherKind kind);

/// The diagonal Fisher information of every element of every parameter of the model, in its order: F(w) =
/// mean over all examples of `data`, dropout off. Batches share one backward pass; a result depends on the
/// batch size by rounding alone, on the number of threads not at all. The expected form takes one pass less
/// than there are classes.
/// Nothing if `progress` stopped it. Throws Error(numeric) if logits or results are not finite.
std::optional<std::vector<NamedTensor>> diagonal_fisher(Bert& model, const TokenizedDataset& data,
                                                        FisherKind kind, int64_t batch_size,
                                                        const EvaluationProgress& progress = {});

/// What to measure; names and defaults are those of the command line.
struct FisherOptions {
  std::filesystem::path model_name_or_path;
  TaskOptions task;
  std::string split = "train";
  std::optional<int64_t> num_samples;  ///< the first N rows of the split; all
  bool expected = false;
  bool fresh_pooler = false;
  uint64_t init_seed = 42;  ///< of a classifier that the model lacks, and of a fresh pooler
  int64_t max_seq_length = 128;
  int64_t batch_size = 16;
  bool last_layer_cls_only = true;
  Precision precision = Precision::fp32;
  Device device;
};

/// A row of a report: a group of tensors, and its elements' Fisher information.
struct FisherRow {
  ComponentGroup group;
  double sum = 0;
  double mean = 0;  ///< sum / elements: what rows are ranked by
  double max = 0;
};

/// Where the numbers come from.
struct FisherSource {
  FisherKind kind = FisherKind::empirical;
  bool regression = false;
  std::string model;  ///< the folder as asked for
  std::string task, split;
  int64_t samples = 0;
  int64_t max_seq_length = 0;
  std::string precision;                            ///< "fp32" or "fp64"
  uint64_t init_seed = 0;                           ///< matters where something was drawn
  std::vector<std::string> fresh;                   ///< tensors that the folder lacks and that were drawn
  std::map<std::string, std::string> model_sha256;  ///< by name of file; "weights": over all shards
  std::vector<std::string> data_sha256;
};

/// The Fisher information of a model, as a value: pooled from coarse to fine.
struct FisherReport {
  FisherSource source;
  std::vector<FisherRow> components, component_parts, component_layers, tensors;
};

nlohmann::ordered_json to_json(const FisherReport& report);
/// Throws Error(data), with the name `where`, for a document that to_json() did not write.
FisherReport fisher_report_from_json(const nlohmann::json& document, const std::string& where);
FisherReport read_fisher_report(const std::filesystem::path& file);

/// Pools the elements of each tensor.
FisherReport make_fisher_report(FisherSource source, const std::vector<NamedTensor>& elements);

struct FisherMeasurement {
  FisherReport report;
  std::vector<NamedTensor> elements;  ///< of every parameter, in the order of the model
};

/// A model and the rows that it is asked about.
struct FisherInput {
  Model model;
  Task task;
  Dataset dataset;
  TokenizedDataset tokens;  ///< of `dataset`
};
/// Reads both. A classifier of the task's size in the folder is kept, otherwise one is drawn (model.report
/// says so). Throws Error(usage), Error(model), Error(data), also for rows without labels where the kind
/// needs them.
FisherInput load_fisher_input(const FisherOptions& options);

/// Nothing if `progress` stopped it.
std::optional<FisherMeasurement> measure_fisher(FisherInput& input, const FisherOptions& options,
                                                const EvaluationProgress& progress = {});

/// Writes components.csv, component_parts.csv, component_layers.csv, tensors.csv, fisher.json and, at last,
/// fisher.safetensors (per element). Throws Error(write).
void write_fisher(const FisherMeasurement& measurement, const std::filesystem::path& folder);

}  // namespace normtune
