#include "tools/comparison_arguments.h"

#include <omp.h>

#include <algorithm>

#include "experiments/data_file.h"
#include "nn/printable.h"
#include "tools/version.h"

namespace normtune {

namespace {

uint64_t parse_seed(const std::string& text) {
  const std::optional<int64_t> seed = parse_integer(text);
  if (!seed || *seed < 0) {
    fail(ErrorKind::usage, "--seeds: expected integers of at least 0, found {}", printable(text));
  }
  return static_cast<uint64_t>(*seed);
}

Shard parse_shard(const std::string& text) {
  const size_t slash = std::min(text.find('/'), text.size());
  const std::optional<int64_t> index = parse_integer(text.substr(0, slash));
  const std::optional<int64_t> count = parse_integer(text.substr(std::min(slash + 1, text.size())));
  if (!index || !count) fail(ErrorKind::usage, "--shard: expected I/N, as in 1/4, found {}", printable(text));
  return {.index = *index, .count = *count};
}

/// One single-threaded run per core, unless something else was asked for: small models do not gain from
/// threads what several runs at a time do.
void resolve_parallelism(const ComparisonArguments& arguments, ComparisonOptions& options) {
  const int64_t cores = omp_get_num_procs();
  options.num_threads = arguments.finetune.common.num_threads.value_or(1);
  options.cost_threads = cores;
  options.jobs = arguments.jobs.value_or(std::max<int64_t>(1, cores / options.num_threads));
}

}  // namespace

void add_comparison_options(Options& options, ComparisonArguments& arguments) {
  ComparisonOptions& target = arguments.options;
  options.group("Comparison");
  options.list("tasks", target.tasks, "TASK,...", "the columns of the table");
  options.list("methods", target.rows, "METHOD,...",
               "the rows; METHOD@untrained: the same with all weights drawn");
  options.list("seeds", arguments.seeds, "N,...", "a run of each row on each task for each of these");
  options.words("learning_rates", arguments.learning_rates, "METHOD=RATE[,RATE...] ...",
                "of several rates the best on dev is taken; other methods use --learning_rate");
  options.choice("report_split", target.report_split, {"dev", "test_labelled"}, "whose scores are shown");
  options.path("baselines", target.baselines, "FILE.csv",
               "scores that were not made here, shown apart: method,task,score,source");
  options.integer("jobs", arguments.jobs, at_least_1, "runs at a time", "cores / --num_threads");
  options.text("shard", arguments.shard, "I/N", "does the I-th of N parts of the runs");
  options.boolean("dry_run", arguments.dry_run, "lists the runs, does none");
  options.boolean("costs", target.costs, "measures time and memory of each method after the runs");
  options.boolean("keep_models", target.keep_models, "keeps the models and checkpoints of finished runs");
}

void hide_single_choices(Options& options) {
  options.hide("method");
  options.hide("task_name");
}

void refuse_single_choices(const Options& options, const ComparisonArguments& arguments) {
  if (options.given("method")) {
    fail(ErrorKind::usage, "--method: a comparison takes several; write --methods {} ({})",
         arguments.finetune.method.options.method, options.see_help());
  }
  if (options.given("task_name")) {
    fail(ErrorKind::usage, "--task_name: a comparison takes several; write --tasks {} ({})",
         arguments.finetune.options.task.task_name, options.see_help());
  }
}

ComparisonOptions resolve_comparison(const ComparisonArguments& arguments) {
  ComparisonOptions options = arguments.options;
  options.finetune = resolve_finetune(arguments.finetune);
  options.mask_seed = arguments.finetune.method.mask_seed;
  options.output_dir = options.finetune.output_dir;
  for (const std::string& seed : arguments.seeds) options.seeds.push_back(parse_seed(seed));
  if (options.seeds.empty()) options.seeds = {options.finetune.seed};
  options.learning_rates = parse_learning_rates(arguments.learning_rates);
  if (!arguments.shard.empty()) options.shard = parse_shard(arguments.shard);
  resolve_parallelism(arguments, options);
  options.program = "/proc/self/exe";
  options.program_version = version_line();
  return options;
}

const char* state_name(const RunListing& listing) {
  return listing.locked ? "running" : state_name(listing.state);
}

}  // namespace normtune
