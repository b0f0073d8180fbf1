#include <algorithm>
#include <nlohmann/json.hpp>

#include "experiments/element_mask.h"
#include "experiments/figures.h"
#include "experiments/finetune_options.h"
#include "experiments/mask_overlap.h"
#include "experiments/nearest_name.h"
#include "experiments/run_folder.h"
#include "nn/atomic_file.h"
#include "nn/bert.h"
#include "nn/model.h"
#include "tools/commands.h"
#include "tools/common_options.h"
#include "tools/results.h"

namespace normtune {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct MaskArguments {
  CommonOptions common;
  std::vector<fs::path> positionals;  ///< the action, then its files
  MaskSize size;
  fs::path output_file, output_dir;
  bool figures = true;

  const fs::path& first() const { return positionals.at(1); }
  std::vector<fs::path> files() const { return {positionals.begin() + 1, positionals.end()}; }
};

const std::vector<std::string> actions = {"from-fisher", "from-drift",   "random",
                                          "union",       "intersection", "overlap"};

bool chooses(const std::string& action) {
  return action == "from-fisher" || action == "from-drift" || action == "random";
}

void add_mask_options(Options& options, MaskArguments& mask) {
  options.positionals(
      "ACTION", mask.positionals,
      "from-fisher|from-drift FILE... (fisher.safetensors, drift.safetensors; several: their mean), "
      "random MODEL, union|intersection|overlap MASK...");
  options.group("Choice of elements");
  options.integer("top_k", mask.size.top_k, at_least_0, "chooses so many elements");
  options.number("top_share", mask.size.top_share, from_0_to_1, "chooses this share of the scope's elements");
  options.boolean("lowest", mask.size.lowest, "chooses the smallest scores instead of the largest");
  options.text("scope", mask.size.scope, "PATTERN",
               "the tensors to choose from: comma-separated globs over names");
  options.group("Output");
  options.path("output_file", mask.output_file, "FILE", "the mask, for finetune --method mask --mask FILE");
  options.path("output_dir", mask.output_dir, "DIR", "overlap: for overlap.json, overlap.csv and figures");
  options.boolean("figures", mask.figures, "overlap: draws figures with Python's matplotlib");
  add_common_options(options, mask.common);
}

/// Options that the action has no use for are mistakes.
void refuse_options(const Options& options, const std::string& action,
                    const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (options.given(name)) fail(ErrorKind::usage, "--{}: mask {} has no use for it", name, action);
  }
}

std::string check_arguments(const Options& options, const MaskArguments& mask) {
  if (mask.positionals.empty()) {
    fail(ErrorKind::usage, "mask: expected one of {} first ({})", fmt::join(actions, ", "),
         options.see_help());
  }
  const std::string action = mask.positionals.front().string();
  if (std::find(actions.begin(), actions.end(), action) == actions.end()) {
    fail(ErrorKind::usage, "mask {}: unknown action; the nearest is {}, all are {}", action,
         nearest_name(action, actions), fmt::join(actions, ", "));
  }
  const size_t files = mask.positionals.size() - 1;
  if (files == 0)
    fail(ErrorKind::usage, "mask {}: expected a file, found none ({})", action, options.see_help());
  if (action == "random" && files > 1) {
    fail(ErrorKind::usage, "mask random: expected one model folder, found {}", files);
  }
  if (action == "overlap" && files < 2) {
    fail(ErrorKind::usage, "mask overlap: expected at least two masks, found {}", files);
  }
  if (!chooses(action)) refuse_options(options, action, {"top_k", "top_share", "lowest", "scope"});
  if (action == "random") refuse_options(options, action, {"lowest"});
  if (chooses(action) && options.given("top_k") == options.given("top_share")) {
    fail(ErrorKind::usage, "mask {}: expected either --top_k or --top_share, found {}", action,
         options.given("top_k") ? "both" : "neither");
  }
  refuse_options(options, action, {action == "overlap" ? "output_file" : "output_dir"});
  if (action != "overlap") options.require("output_file");
  return action;
}

/// The tensors of the model that config.json describes; its weights are only hashed, if they are there.
ElementMask random_mask(const MaskArguments& mask) {
  const fs::path base = base_model_folder(mask.first());
  const Bert bert(read_bert_config(base), BertHead::classification);
  std::vector<TensorSize> tensors;
  for (const Parameter& parameter : bert.parameters()) tensors.push_back({parameter.name, parameter.numel()});
  const ModelFiles files{.folder = mask.first(), .base_folder = base, .weights = find_weights(base)};
  return choose_at_random(tensors, mask.size, mask.common.seed, weights_sha256(files));
}

ElementMask make_mask(const std::string& action, const MaskArguments& mask, const Console& console) {
  if (action == "random") return random_mask(mask);
  if (chooses(action)) {
    ChosenElements chosen =
        choose_by_score(read_element_scores(mask.files(), action, mask.size.scope), mask.size);
    for (const std::string& note : chosen.notes) console.warning(note);
    return std::move(chosen.mask);
  }
  std::vector<ElementMask> masks;
  for (const fs::path& file : mask.files()) masks.push_back(read_mask(file));
  require_one_base(masks, mask.files());
  return action == "union" ? unite(masks) : intersect(masks);
}

/// What the mask holds, component by component.
std::string mask_table(const ElementMask& mask) {
  TableRows table = {{"component", "chosen", "share of the mask %"}};
  const auto total = static_cast<double>(mask.count());
  for (const ComponentGroup& group : count_mask(mask).component_parts) {
    table.push_back({row_name(group), with_thousands(group.elements),
                     fmt::format("{:.2f}", 100 * static_cast<double>(group.elements) / total)});
  }
  return format_table(table);
}

int write_chosen(const std::string& action, const MaskArguments& mask, const Console& console) {
  require_replaceable(mask.output_file);
  require_outside_inputs("output_file", mask.output_file, mask.files());
  const ElementMask chosen = make_mask(action, mask, console);
  write_mask(mask.output_file, chosen);
  console.result(fmt::format(
      "{}: {} elements of {} tensors ({})\n", mask.output_file.string(), with_thousands(chosen.count()),
      with_thousands(static_cast<int64_t>(chosen.tensors.size())), chosen.origin.selector));
  if (chosen.count() > 0) {
    console.result(mask_table(chosen));
  } else {
    console.warning("the mask is empty: fine-tuning with it trains the head alone");
  }
  console.document(mask_json(mask.output_file.string(), chosen));
  return 0;
}

int write_overlap(const MaskArguments& mask, const Console& console) {
  const MaskOverlap overlap = measure_overlap(mask.files());
  console.result(mask_sizes_table(overlap) + "\n");
  console.result(overlap_table(overlap));
  if (!mask.output_dir.empty()) {
    const FolderLock lock(mask.output_dir);
    write_mask_overlap(overlap, mask.output_dir);
    if (mask.figures) {
      print_figures(console, draw_figures("plot_masks.py", {(mask.output_dir / "overlap.json").string()}));
    }
  }
  console.document(to_json(overlap));
  return 0;
}

}  // namespace

int run_mask(Arguments arguments) {
  MaskArguments mask;
  Options options("mask", "Chooses single elements to train, and compares such choices.");
  add_mask_options(options, mask);
  if (!options.parse(arguments)) return 0;
  const std::string action = check_arguments(options, mask);
  apply_common_options(mask.common);
  const Console console = mask.common.console();
  return action == "overlap" ? write_overlap(mask, console) : write_chosen(action, mask, console);
}

}  // namespace normtune
