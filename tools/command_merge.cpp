#include <nlohmann/json.hpp>

#include "experiments/model_delta.h"
#include "experiments/run_folder.h"
#include "experiments/training_options.h"
#include "nn/atomic_file.h"
#include "tensor/error.h"
#include "tools/commands.h"
#include "tools/common_options.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

/// What an earlier run left in the output folder is removed: no input may be part of it.
void require_inputs_outside(const fs::path& output_dir, const std::vector<fs::path>& inputs) {
  for (const fs::path& input : inputs) {
    if (!lies_in(input, output_dir)) continue;
    fail(ErrorKind::usage, "--output_dir {}: {}, which is read, lies in it; choose another folder",
         output_dir.string(), input.string());
  }
}

}  // namespace

int run_merge(Arguments arguments) {
  CommonOptions common;
  fs::path base, delta, output_dir;
  bool overwrite_output_dir = false;
  MergeOptions merge;
  Options options("merge", "Puts a delta on its base model and writes a plain model folder.");
  options.positional("BASE", base, "a model folder");
  options.positional("DELTA", delta, "a file of normtune diff, or a folder of PEFT or AdapterHub");
  options.boolean("allow_other_base", merge.allow_other_base,
                  "accepts a file that was made from another model");
  options.group("Output");
  options.path("output_dir", output_dir, "DIR", "where the model folder is written");
  options.boolean("overwrite_output_dir", overwrite_output_dir,
                  "replaces the model or run in a folder that is not empty");
  add_common_options(options, common);
  if (!options.parse(arguments)) return 0;
  apply_common_options(common);
  if (base.empty() || delta.empty()) {
    fail(ErrorKind::usage, "merge: expected a model folder and a delta, BASE and DELTA ({})",
         options.see_help());
  }
  options.require("output_dir");
  require_inputs_outside(output_dir, {base, delta});
  if (!overwrite_output_dir) require_empty_run_folder(output_dir);

  const FolderLock lock(output_dir);
  const MergeReport report = merge_delta(base, delta, output_dir, merge);
  const Console console = common.console();
  console.result(fmt::format("{}: {} with {}", output_dir.string(), base.string(), report.delta));
  if (!report.left_over.empty()) {
    console.result(fmt::format("{} tensors of adapters cannot be merged; they are in {}",
                               report.left_over.size(), (output_dir / "adapterhub").string()));
  }
  console.document(
      {{"output_dir", output_dir.string()}, {"delta", report.delta}, {"adapter_tensors", report.left_over}});
  return 0;
}

int run_diff(Arguments arguments) {
  CommonOptions common;
  fs::path before, after, output_file;
  Options options("diff", "Writes what turns one model into another as a delta file.");
  options.positional("BEFORE", before, "a model folder");
  options.positional("AFTER", after, "a model folder");
  options.group("Output");
  options.path("output_file", output_file, "FILE.safetensors", "the delta, for normtune merge");
  add_common_options(options, common);
  if (!options.parse(arguments)) return 0;
  apply_common_options(common);
  if (before.empty() || after.empty()) {
    fail(ErrorKind::usage, "diff: expected two model folders, BEFORE and AFTER ({})", options.see_help());
  }
  options.require("output_file");
  require_replaceable(output_file);
  require_outside_inputs("output_file", output_file, {before, after});

  const SubsetDelta delta = diff_models(before, after);
  write_subset_delta(output_file, delta);
  const Console console = common.console();
  console.result(fmt::format("{}: {}; {} bytes", output_file.string(), describe(delta),
                             with_thousands(static_cast<int64_t>(fs::file_size(output_file)))));
  console.document({{"output_file", output_file.string()},
                    {"tensors", delta.tensors.size()},
                    {"sparse_tensors", delta.elements.size()},
                    {"count", delta.count()},
                    {"removed", delta.removed},
                    {"base_model_sha256", delta.origin.base_model_sha256}});
  return 0;
}

}  // namespace normtune
