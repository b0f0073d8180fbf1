#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/drift.h"
#include "experiments/figures.h"
#include "experiments/run_folder.h"
#include "experiments/tokenized_dataset.h"
#include "nn/model.h"
#include "tensor/error.h"
#include "tools/commands.h"
#include "tools/common_options.h"
#include "tools/model_options.h"
#include "tools/task_options.h"

namespace normtune {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct DriftArguments {
  CommonOptions common;
  fs::path before, after, output_dir;
  TaskOptions task;
  int64_t max_seq_length = 128;
  bool checkpoints = false, layers = false, tensors = false;
  bool overwrite_output_dir = false, figures = true;
};

bool names_a_task(const TaskOptions& task) {
  return !task.task_name.empty() || !task.train_file.empty();
}

/// The rows of the embeddings that the training split looks up.
OccurringRows rows_of_task(const DriftArguments& drift) {
  const TaskData data = load_task_data(resolve_task(drift.task));
  const Tokenizer tokenizer = Tokenizer::from_folder(base_model_folder(drift.before));
  const TokenizedDataset tokens(data.train, tokenizer, drift.max_seq_length);
  OccurringRows rows{.tokens = std::vector<bool>(static_cast<size_t>(tokenizer.vocab_size())),
                     .num_positions = tokens.max_length(),
                     .num_token_types = tokens.has_pairs() ? 2 : 1,
                     .source = fmt::format("tokens of the training split of {}", data.task.name)};
  for (int64_t i = 0; i < tokens.size(); ++i) {
    for (const int32_t id : tokens.example(i).input_ids) rows.tokens[static_cast<size_t>(id)] = true;
  }
  return rows;
}

// ---- What people read

std::string number(double value) {
  return fmt::format("{:.3g}", value);
}

std::string number(const std::optional<double>& value) {
  return value ? number(*value) : "-";
}

std::string percent(double share) {
  return fmt::format("{:.4g} %", 100 * share);
}

TableRows::value_type heading(const std::string& first, bool walks) {
  TableRows::value_type cells = {first, "elements", "D", "rel. L2", "cosine", "largest", "changed"};
  if (walks) cells.insert(cells.end(), {"/ sign walk", "/ random walk"});
  return cells;
}

TableRows::value_type cells_of(const std::string& name, int64_t elements, const Change& change, bool walks) {
  TableRows::value_type cells = {name,
                                 with_thousands(elements),
                                 number(change.mean_abs),
                                 number(change.rel_l2),
                                 change.cosine ? fmt::format("{:.6f}", *change.cosine) : "-",
                                 number(change.max_abs),
                                 percent(change.changed)};
  if (walks) cells.insert(cells.end(), {number(change.of_sign_walk), number(change.of_random_walk)});
  return cells;
}

/// A ranked table; rows that move by rounding alone follow it, marked.
std::string change_table(const std::string& title, const std::vector<DriftRow>& rows, bool walks) {
  TableRows table = {heading(title, walks)};
  const auto add = [&](const DriftRow& row, const std::string& mark) {
    const std::string name = row.group.tensor.empty() ? row_name(row.group) : row.group.tensor;
    table.push_back(cells_of(name + mark, row.group.elements, row.change, walks));
  };
  for (const DriftRow& row : ranked(rows)) add(row, "");
  for (const DriftRow& row : rows) {
    if (row.group.rounding_noise) add(row, " (rounding noise)");
  }
  return format_table(table);
}

/// What the last two columns mean, or why they are not there.
std::string describe_steps(const std::optional<StepSizes>& steps) {
  if (!steps) return "no trainer_state.json beside the weights: D is not compared with the learning rates";
  const std::string run = fmt::format("{} steps{}{}, learning rates up to {} with the sum {}", steps->steps,
                                      steps->optimizer.empty() ? "" : " of ", steps->optimizer,
                                      number(steps->max_lr), number(steps->sum_lr));
  if (!steps->walks()) return fmt::format("{}: {}", run, steps->no_walk_because);
  return fmt::format(
      "{}\n"
      "/ sign walk:   D divided by {}, what a step of the learning rate in one direction each time would "
      "give\n"
      "/ random walk: D divided by {}, the same with directions drawn at random\n"
      "AdamW moves nearly every element by about the learning rate, however small its gradient: D compares\n"
      "how steadily components were pulled, not how much; relative L2 and a run with --optim sgd show more",
      run, number(steps->sign_walk()), number(steps->random_walk()));
}

std::string embedding_table(const Drift& drift, bool walks) {
  TableRows table = {heading("embedding rows", walks)};
  table.front()[1] = "rows";
  for (const EmbeddingRows& rows : drift.embedding_rows) {
    const std::string component = rows.tensor.substr(rows.tensor.find("embeddings.") + 11);
    const std::string name = component.substr(0, component.rfind(".weight"));
    table.push_back(cells_of(name + ", occur", rows.occurring, rows.of_occurring, walks));
    if (rows.occurring == rows.rows) continue;
    table.push_back(cells_of(name + ", never", rows.rows - rows.occurring, rows.of_others, walks));
  }
  return format_table(table);
}

std::string list_names(const std::vector<std::string>& names) {
  constexpr size_t most = 6;
  const std::vector<std::string> first(names.begin(),
                                       names.begin() + static_cast<int64_t>(std::min(most, names.size())));
  return fmt::format("{}{}", fmt::join(first, ", "),
                     names.size() > most ? fmt::format(" and {} more", names.size() - most) : "");
}

std::string checkpoint_table(const Drift& drift) {
  TableRows table = {{"D at step"}};
  for (const DriftCheckpoint& checkpoint : drift.checkpoints) {
    table.front().push_back(std::to_string(checkpoint.step));
  }
  for (const DriftRow& row : ranked(drift.components)) {
    table.push_back({row.group.component});
    for (const DriftCheckpoint& checkpoint : drift.checkpoints) {
      for (const DriftRow& then : checkpoint.components) {
        if (then.group.component == row.group.component) table.back().push_back(number(then.change.mean_abs));
      }
    }
  }
  return format_table(table);
}

void print(const Console& console, const DriftArguments& arguments, const Drift& drift) {
  const bool walks = drift.step_sizes && drift.step_sizes->walks();
  const auto print_part = [&](const std::string& text) { console.result(text + "\n"); };
  console.result(fmt::format("from {} to {}; D = mean |after - before|, ranked", drift.before, drift.after));
  print_part(describe_steps(drift.step_sizes) + "\n");
  print_part(change_table("component", drift.components, walks));
  print_part(change_table("weight and bias apart", drift.component_parts, walks));
  if (arguments.layers) print_part(change_table("layer by layer", drift.component_layers, walks));
  if (arguments.tensors) print_part(change_table("tensor", drift.tensors, walks));
  if (!drift.embedding_rows.empty()) {
    print_part(embedding_table(drift, walks) + fmt::format("(told by: {})\n", drift.rows_told_by));
  }
  if (!drift.checkpoints.empty()) print_part(checkpoint_table(drift));
  for (const auto& [folder, names] :
       {std::pair(drift.before, drift.only_before), std::pair(drift.after, drift.only_after)}) {
    if (names.empty()) continue;
    console.result(fmt::format("only in {}, left out: {}", folder, list_names(names)));
  }
}

/// Writes the files and draws the figures; returns the names of these.
Json write_outputs(const Console& console, const DriftArguments& arguments, const Drift& drift) {
  Json figures = Json::array();
  write_drift_files(arguments.output_dir, drift);
  console.result(
      fmt::format("{}: drift.json, components.csv, component_layers.csv, tensors.csv and "
                  "drift.safetensors are written",
                  arguments.output_dir.string()));
  if (!arguments.figures) return figures;
  const DrawnFigures drawn = draw_figures("plot_drift.py", {arguments.output_dir.string()});
  if (!drawn.note.empty()) console.note(drawn.note);
  for (const fs::path& file : drawn.files) figures.push_back(file.string());
  if (!drawn.files.empty()) console.result(fmt::format("{} figure files are drawn", drawn.files.size()));
  return figures;
}

void declare_options(Options& options, DriftArguments& drift) {
  options.positional("BEFORE", drift.before, "a model folder");
  options.positional("AFTER", drift.after, "a model folder, or a run's folder with --checkpoints");
  options.boolean("checkpoints", drift.checkpoints, "also compares each checkpoint-N/ of AFTER with BEFORE");
  options.boolean("layers", drift.layers, "prints each layer by itself too");
  options.boolean("tensors", drift.tensors, "prints each tensor too");
  options.group("Output");
  options.path("output_dir", drift.output_dir, "DIR", "where drift.json, tables and figures are written");
  options.boolean("overwrite_output_dir", drift.overwrite_output_dir,
                  "writes into a folder that is not empty");
  options.boolean("figures", drift.figures, "draws figures with Python's matplotlib");
  options.group("Task: tells embedding rows that its training split looks up from those that never occur");
  add_task_options(options, drift.task);
  options.integer("max_seq_length", drift.max_seq_length, {.minimum = 3},
                  "cuts longer inputs to this many tokens");
}

}  // namespace

int run_drift(Arguments arguments) {
  DriftArguments drift;
  Options options("drift", "Measures what moved between two versions of a model.");
  declare_options(options, drift);
  add_common_options(options, drift.common);
  if (!options.parse(arguments)) return 0;
  apply_common_options(drift.common);
  if (drift.before.empty() || drift.after.empty()) {
    fail(ErrorKind::usage, "drift: expected two model folders, BEFORE and AFTER ({})", options.see_help());
  }
  const bool writes = !drift.output_dir.empty();
  if (writes && !drift.overwrite_output_dir) require_empty_run_folder(drift.output_dir);

  DriftOptions drift_options{.checkpoints = drift.checkpoints, .device = drift.common.device()};
  if (names_a_task(drift.task)) drift_options.occurring = rows_of_task(drift);
  std::optional<FolderLock> lock;
  if (writes) {
    lock.emplace(drift.output_dir);
    drift_options.element_file = drift.output_dir / "drift.safetensors";
  }
  const Drift measured = measure_drift(drift.before, drift.after, drift_options);
  const Console console = drift.common.console();
  print(console, drift, measured);
  Json document = to_json(measured);
  if (writes) document["figures"] = write_outputs(console, drift, measured);
  console.document(document);
  return 0;
}

}  // namespace normtune
