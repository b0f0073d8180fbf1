#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "experiments/finetune.h"

namespace normtune {

/// The part of a comparison's runs that one process does: those whose number is `index` modulo `count`.
struct Shard {
  int64_t index = 1;  ///< from 1
  int64_t count = 1;
};

/// A mask that runs train with. The file may be gone where all of them are finished.
struct MaskFile {
  std::filesystem::path path;
  std::string sha256;
};

/// What runs keep of their model beside its scores, before it goes: as small JSON files in their folders.
struct KeptMeasurements {
  std::vector<std::string> drift_rows;   ///< these keep drift.json: the change from the start model
  std::vector<std::string> fisher_rows;  ///< these keep fisher.json: the Fisher information after training
  int64_t fisher_samples = 1024;         ///< training rows that it is measured on
};

/// Everything that `normtune compare` can be told. A row of the table is a method, or `METHOD@untrained`: the
/// same from a model whose weights are all drawn, or `mask:NAME`: the method mask with files of its own.
struct ComparisonOptions {
  /// What all runs share. Task name, method, learning rate, seed, random_init and output folder are the
  /// run's own; the method's mask seed too.
  FinetuneOptions finetune;
  std::optional<uint64_t> mask_seed;  ///< default: the run's seed
  std::vector<std::string> tasks;     ///< empty: the user's own files
  std::vector<std::string> rows;
  std::vector<uint64_t> seeds;
  /// By row or method; several make a grid. Others use finetune.learning_rate.
  std::map<std::string, std::vector<double>> learning_rates;
  /// The masks of rows `mask:NAME`, by row, task and seed.
  std::map<std::tuple<std::string, std::string, uint64_t>, MaskFile> row_masks;
  KeptMeasurements keep;
  std::string report_split = "dev";  ///< dev or test_labelled: whose scores the table shows
  std::filesystem::path output_dir;
  std::filesystem::path baselines;  ///< scores that were not made by runs; empty: none

  int64_t jobs = 1;         ///< runs at a time
  int64_t num_threads = 1;  ///< of each run
  Shard shard;
  double budget = 0;            ///< minutes; positive: no run is started when they are spent
  bool keep_models = false;     ///< model folders and checkpoints stay
  bool costs = true;            ///< measure time and memory of each method, after the runs
  int64_t cost_threads = 1;     ///< of that measurement
  std::string program;          ///< the executable that the runs are started with
  std::string program_version;  ///< written into the results
};

/// The method of a row: `full` of `full@untrained`, `mask` of `mask:NAME`.
std::string method_of_row(std::string_view row);
/// The row starts from drawn weights.
bool is_untrained(std::string_view row);
/// The row is `mask:NAME`.
bool has_own_masks(std::string_view row);

/// The row trains with the file of --mask.
bool has_mask_of_option(std::string_view row);

/// `full=5e-5,1e-4 layernorm=1e-3`: the rates of each row, ascending. Separators are blanks and commas.
/// Throws Error(usage) that says what is malformed.
std::map<std::string, std::vector<double>> parse_learning_rates(std::string_view text);

/// The rates that a row is tried with: its own, else its method's, else the one of all.
std::vector<double> learning_rates_of(const ComparisonOptions& options, const std::string& row);

/// The tasks' names; a single empty one for the user's own files.
std::vector<std::string> task_names(const ComparisonOptions& options);

/// Puts tasks into the spelling of glue_tasks() and throws Error(usage) for an unknown or repeated task, row
/// or seed (naming the nearest), a rate for a row that is not compared, or options that no comparison has.
void check_comparison_options(ComparisonOptions& options);

}  // namespace normtune
