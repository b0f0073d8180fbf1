#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/figures.h"
#include "experiments/fisher.h"
#include "experiments/progress.h"
#include "experiments/run_folder.h"
#include "tools/commands.h"
#include "tools/common_options.h"
#include "tools/evaluation_input.h"
#include "tools/model_options.h"
#include "tools/results.h"
#include "tools/task_options.h"

namespace normtune {

namespace {

namespace fs = std::filesystem;

struct FisherArguments {
  FisherOptions options;
  CommonOptions common;
  std::optional<uint64_t> init_seed;  ///< --seed
  fs::path output_dir;
  bool overwrite_output_dir = false, figures = true;
};

void add_fisher_options(Options& options, FisherArguments& arguments) {
  FisherOptions& fisher = arguments.options;
  add_model_option(options, fisher.model_name_or_path);
  options.seed("init_seed", arguments.init_seed,
               "of a classifier that the model lacks, and of a fresh pooler", "--seed");
  options.boolean("fresh_pooler", fisher.fresh_pooler, "draws a new pooler");
  options.boolean("last_layer_cls_only", fisher.last_layer_cls_only,
                  "computes the last layer for [CLS] only: equal results, less work");
  add_task_options(options, fisher.task);
  options.text("split", fisher.split, "train|dev|...", "the rows to take");
  options.integer("num_samples", fisher.num_samples, at_least_1, "takes the first N rows of the split",
                  "all");
  options.integer("max_seq_length", fisher.max_seq_length, {.minimum = 3},
                  "cuts longer inputs to this many tokens");
  options.group("Fisher information");
  options.boolean("expected", fisher.expected,
                  "weighs every class by its probability instead of taking the observed label");
  options.integer("per_device_eval_batch_size", fisher.batch_size, at_least_1, "examples in a batch");
  options.group("Output");
  options.path("output_dir", arguments.output_dir, "DIR",
               "for fisher.safetensors (per element), fisher.json, tables (CSV) and figures");
  options.boolean("overwrite_output_dir", arguments.overwrite_output_dir,
                  "writes into a folder that is not empty");
  options.boolean("figures", arguments.figures, "draws figures with Python's matplotlib");
  add_common_options(options, arguments.common);
}

/// What people should know about the input before it takes its time.
void report_input(const Console& console, const FisherInput& input, const FisherOptions& options) {
  for (const std::string& warning : input.model.warnings) console.warning(warning);
  for (const std::string& warning : input.dataset.warnings) console.warning(warning);
  console.detail(to_text(input.model.report));
  if (!input.model.report.fresh.empty()) {
    console.warning(fmt::format("{}: drawn from init_seed {}, as the folder has none that fits: {}",
                                input.model.folder.string(), options.init_seed,
                                fmt::join(input.model.report.fresh, ", ")));
  }
}

/// Ranked by mean, rounding noise behind all else.
std::vector<FisherRow> ranked(std::vector<FisherRow> rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const FisherRow& a, const FisherRow& b) {
    return std::tuple(a.group.rounding_noise, -a.mean) < std::tuple(b.group.rounding_noise, -b.mean);
  });
  return rows;
}

std::string fisher_table(const std::string& heading, const std::vector<FisherRow>& rows) {
  TableRows table = {{heading, "elements", "mean", "max", "sum"}};
  for (const FisherRow& row : ranked(rows)) {
    table.push_back({row_name(row.group) + (row.group.rounding_noise ? " (rounding noise)" : ""),
                     with_thousands(row.group.elements), fmt::format("{:.3e}", row.mean),
                     fmt::format("{:.3e}", row.max), fmt::format("{:.3e}", row.sum)});
  }
  return format_table(table);
}

std::string describe(const FisherSource& source) {
  return fmt::format("{} Fisher information of {}: {} rows of {}, {}",
                     source.kind == FisherKind::expected ? "Expected" : "Empirical", source.model,
                     with_thousands(source.samples), source.split, source.task);
}

FisherMeasurement measure(FisherInput& input, const FisherOptions& options, const Console& console) {
  Progress progress("Fisher information", input.tokens.size(), "example",
                    ProgressOutput::standard_error(console.quiet()));
  FisherMeasurement measurement = measure_fisher(input, options, show_evaluation(progress)).value();
  progress.update(input.tokens.size());
  progress.finish();
  return measurement;
}

}  // namespace

int run_fisher(Arguments arguments) {
  FisherArguments fisher;
  Options options("fisher",
                  "Measures the diagonal Fisher information of every parameter on the rows of a task.");
  add_fisher_options(options, fisher);
  if (!options.parse(arguments)) return 0;
  apply_common_options(fisher.common);
  require_model(options, fisher.options.model_name_or_path);
  fit_sequence_length(options, fisher.options.model_name_or_path, fisher.options.max_seq_length);
  fisher.options.task = resolve_task(fisher.options.task);
  fisher.options.init_seed = fisher.init_seed.value_or(fisher.common.seed);
  fisher.options.precision = fisher.common.precision();
  fisher.options.device = fisher.common.device();

  const Console console = fisher.common.console();
  std::optional<FolderLock> lock;
  if (!fisher.output_dir.empty()) {
    if (!fisher.overwrite_output_dir) require_empty_run_folder(fisher.output_dir);
    lock.emplace(fisher.output_dir);
  }
  FisherInput input = load_fisher_input(fisher.options);
  report_input(console, input, fisher.options);
  const FisherMeasurement measurement = measure(input, fisher.options, console);
  console.result(describe(measurement.report.source) + "\n");
  console.result(fisher_table("component", measurement.report.components) + "\n");
  console.result(fisher_table("weight and bias apart", measurement.report.component_parts));
  if (lock) {
    write_fisher(measurement, fisher.output_dir);
    if (fisher.figures) {
      print_figures(console, draw_figures("plot_fisher.py", {(fisher.output_dir / "fisher.json").string()}));
    }
  }
  console.document(to_json(measurement.report));
  return 0;
}

}  // namespace normtune
