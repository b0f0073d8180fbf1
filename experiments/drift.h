#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "experiments/change_statistics.h"
#include "experiments/component_groups.h"
#include "experiments/step_sizes.h"

namespace normtune {

/// How far the elements of a row moved (ChangeSums says how each number is made).
struct Change {
  double mean_abs = 0;  ///< D, the paper's measure
  std::optional<double> rel_l2, cosine;
  double max_abs = 0;
  double changed = 0;  ///< share of the elements, 0 to 1
  /// mean_abs divided by the walks of StepSizes; none without a run's records.
  std::optional<double> of_sign_walk, of_random_walk;
  /// Of |after - before|, at drift_quantiles; empty in rows of single layers and tensors.
  std::vector<double> quantiles;
};
inline constexpr double drift_quantiles[] = {0.05, 0.25, 0.5, 0.75, 0.95};

struct DriftRow {
  ComponentGroup group;
  Change change;
};

/// The rows of an embedding matrix that training looked up, and those that it never did: these get no
/// gradient, and only weight decay moves them.
struct EmbeddingRows {
  std::string tensor;
  int64_t rows = 0;
  int64_t occurring = 0;
  Change of_occurring, of_others;
};

/// A checkpoint of a run against the model before it.
struct DriftCheckpoint {
  int64_t step = 0;
  std::vector<DriftRow> components, component_layers;
};

/// What moved between two model folders. All lists are in the order of group_by_component.
struct Drift {
  std::string before, after;  ///< the folders
  std::string before_sha256, after_sha256;
  std::vector<DriftRow> components, component_parts, component_layers, tensors;
  std::vector<std::string> only_before, only_after;  ///< tensors of one folder alone, which are left out
  std::optional<StepSizes> step_sizes;
  std::vector<EmbeddingRows> embedding_rows;
  std::string rows_told_by;                  ///< what decided which rows occur, for people
  std::vector<DriftCheckpoint> checkpoints;  ///< ascending steps; empty unless asked for
};

/// Which rows of the embeddings a training split looks up.
struct OccurringRows {
  std::vector<bool> tokens;   ///< by token id
  int64_t num_positions = 0;  ///< positions from 0 on
  int64_t num_token_types = 0;
  std::string source;  ///< for people: "the training split of rte"
};

struct DriftOptions {
  /// AFTER is a run's folder: each of its checkpoints is measured too. Where the run has written no model
  /// yet, its last checkpoint stands for it.
  bool checkpoints = false;
  /// Without it a row counts as occurring if any of its elements changed.
  std::optional<OccurringRows> occurring;
  /// Where |after - before| of every element goes, as a safetensors file; empty: nowhere.
  std::filesystem::path element_file;
  Device device;  ///< where tensors are compared, but those in float64
};

/// Compares two model folders of any kind that we load, one tensor at a time. Throws Error(model) if one
/// cannot be read, a tensor has another shape in the other folder or a value that is not finite, they have no
/// tensor in common, or checkpoints are asked for and there are none.
Drift measure_drift(const std::filesystem::path& before, const std::filesystem::path& after,
                    const DriftOptions& options = {});

/// The rows by falling D, without those of rounding noise.
std::vector<DriftRow> ranked(std::vector<DriftRow> rows);

/// drift.json, and back. drift_from_json throws Error(model) that names `source` for what to_json does not
/// write.
nlohmann::ordered_json to_json(const Drift& drift);
Drift drift_from_json(const nlohmann::json& document, const std::string& source);

/// Writes drift.json, components.csv (pooled over layers: weight and bias together, then apart),
/// component_layers.csv and tensors.csv into a folder. Throws Error(write).
void write_drift_files(const std::filesystem::path& folder, const Drift& drift);

}  // namespace normtune
