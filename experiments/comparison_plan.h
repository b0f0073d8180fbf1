#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments/comparison_inputs.h"
#include "experiments/comparison_options.h"

namespace normtune {

/// A run of a comparison: a value, whose name is the hash of all that its numbers follow from.
struct ComparedRun {
  std::string id;           ///< first 16 hexadecimal digits of the identity's SHA-256
  nlohmann::json identity;  ///< see compared_run_identity()
  std::string row;          ///< `full`, `full@untrained`
  std::string task;
  std::string metric;
  FinetuneOptions options;                ///< as finetune takes them; the output folder is `runs/ID`
  std::vector<std::string> measurements;  ///< files of KeptMeasurements that it takes to be finished
  double work = 0;                        ///< characters that training reads, over all epochs
};

/// What a run's numbers follow from:
///   options          those that change numbers, where they differ from their defaults. A method's own
///   options
///                    count for that method alone; when to evaluate counts where the best model is chosen.
///   model, data      SHA-256 of the files' contents (no weights for an untrained row)
///   mask             the same, of the method mask
///   numbers_version  changes when the same options and files would give other numbers
/// File locations, threads, logging, saving and the device's index are no part of it: a results folder that
/// was copied to another machine is recognised there.
nlohmann::json compared_run_identity(const FinetuneOptions& options, const ComparisonInputs& inputs,
                                     const std::string& report_split, const std::string& mask_sha256);

/// All runs, seed by seed, in each of them task by task. Throws Error(usage) for options that do not fit
/// together.
std::vector<ComparedRun> plan_runs(const ComparisonOptions& options, const ComparisonInputs& inputs);

/// The run belongs to the shard; `index` is its place in the plan.
bool in_shard(const Shard& shard, size_t index);

/// The arguments of the program that does the run: `finetune --task_name=cola ...`, in which options that
/// have their default value are left out.
std::vector<std::string> finetune_arguments(const FinetuneOptions& options);
/// The same for scoring its model on `split`: `evaluate FOLDER ...`.
std::vector<std::string> evaluate_arguments(const FinetuneOptions& options, const std::string& split);
/// The same for measuring how far its weights are from those of the start model: `drift START FOLDER ...`.
std::vector<std::string> drift_arguments(const FinetuneOptions& options);
/// The same for its Fisher information on the first `num_samples` training rows: `fisher FOLDER ...`.
std::vector<std::string> fisher_arguments(const FinetuneOptions& options, int64_t num_samples);

}  // namespace normtune
