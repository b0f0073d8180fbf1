#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "nn/mask_file.h"

namespace normtune {

/// What makes `after` out of `before`: single elements of tensors of which at most half changed, the others
/// whole, with those that only `after` has; the names that only `before` has; and the config.json of `after`.
/// Elements are compared by their bits. Throws Error(model) if a folder cannot be read or `after` has
/// adapters, which its adapterhub/ already holds apart.
SubsetDelta diff_models(const std::filesystem::path& before, const std::filesystem::path& after);

/// "3 whole tensors, 51 elements of 2 others, 0 tensors removed"
std::string describe(const SubsetDelta& delta);

struct MergeOptions {
  bool allow_other_base = false;  ///< a delta file may be put on another model than the one it was made from
};

/// What became of a merge, for people.
struct MergeReport {
  std::string delta;                   ///< what kind of delta it was
  std::vector<std::string> left_over;  ///< tensors that had to stay beside model.safetensors: adapters
};

/// Writes into `output_dir` the plain folder that `delta` makes out of the model in `base`: a file of
/// diff_models, or a PEFT or AdapterHub folder, whatever base it names. Adapters cannot be merged into the
/// weights: they go to adapterhub/ in the output folder, which all commands load. Throws Error(model) if the
/// delta does not fit the base. What an earlier run or merge wrote into `output_dir` is removed
/// first (remove_run_files).
MergeReport merge_delta(const std::filesystem::path& base, const std::filesystem::path& delta,
                        const std::filesystem::path& output_dir, const MergeOptions& options = {});

}  // namespace normtune
