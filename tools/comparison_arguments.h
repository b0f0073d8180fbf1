#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/compare.h"
#include "tools/console.h"
#include "tools/finetune_options.h"
#include "tools/options.h"

namespace normtune {

/// What the command line of compare and reproduce says beside finetune's options.
struct ComparisonArguments {
  FinetuneArguments finetune;
  ComparisonOptions options;
  std::vector<std::string> seeds;
  std::string learning_rates, shard;
  std::optional<int64_t> jobs;
  bool dry_run = false;
};

/// All of them but finetune's.
void add_comparison_options(Options& options, ComparisonArguments& arguments);

/// Options of finetune that here have a list in their place are no part of the help, and
/// refuse_single_choices() throws Error(usage) for them.
void hide_single_choices(Options& options);
void refuse_single_choices(const Options& options, const ComparisonArguments& arguments);

/// The options as the library takes them. Throws Error(usage) that names the option.
ComparisonOptions resolve_comparison(const ComparisonArguments& arguments);

/// missing, interrupted, running, failed or finished.
const char* state_name(const RunListing& listing);

}  // namespace normtune
