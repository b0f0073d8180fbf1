#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/comparison_plan.h"
#include "experiments/score_table.h"

namespace normtune {

/// What was measured of one component (or layer of it, or its weight or bias) after one run.
struct ComponentValue {
  std::string task;
  uint64_t seed = 0;
  std::string component;
  std::optional<int64_t> layer;
  std::string part;  ///< all, weight, bias
  int64_t elements = 0;
  bool rounding_noise = false;  ///< left out of rankings
  std::map<std::string, double> values;

  /// `output.LayerNorm`, `output.LayerNorm.bias`
  std::string name() const { return part == "all" ? component : component + "." + part; }
};

/// A kind of measurement of all runs of a row, at the learning rates that the score table has chosen.
struct ComponentMeasurements {
  std::string quantity;                    ///< drift, fisher
  std::string main_value;                  ///< which rows are ranked by: mean_abs, mean
  std::string row;                         ///< full
  std::vector<ComponentValue> components;  ///< pooled over layers, weight with bias
  std::vector<ComponentValue> parts;       ///< pooled over layers, weight and bias apart
  std::vector<ComponentValue> layers;      ///< each layer by itself, weight with bias
  int64_t num_runs = 0;

  /// Names of the components in the encoder's layers, in the order of the model, without rounding noise.
  std::vector<std::string> layer_components() const;
  /// The main value of a component or part by task and seed, of the runs that have it.
  std::map<std::pair<std::string, uint64_t>, double> by_run(std::string_view name) const;
};

/// `quantity` is drift or fisher. Runs that are not finished are left out. Throws Error(data) for a malformed
/// file.
ComponentMeasurements collect_measurements(std::string_view quantity, const std::string& row,
                                           const ScoreTable& table, std::span<const ComparedRun> runs);

/// What a run of the table is: at the chosen learning rate of its row and task.
bool is_in_table(const ComparedRun& run, const ScoreTable& table);

/// A component's standing among others.
struct ComponentRank {
  std::string name;
  int64_t elements = 0;
  bool rounding_noise = false;
  std::map<std::string, double> mean_by_task;  ///< of the main value, over seeds
  double mean = 0;                             ///< over tasks of the means over seeds
  std::map<std::string, double> other_means;   ///< the same of the other values
  int64_t first_in_runs = 0;  ///< runs in which it is the largest of its list; of components outside the
                              ///< encoder's layers, and of noise, always 0
};
/// Descending by mean, rounding noise behind all else.
std::vector<ComponentRank> rank_components(const ComponentMeasurements& measurements,
                                           const std::vector<ComponentValue>& list);

/// One line per component, layer or part and run: `list,task,seed,component,part,layer,elements,
/// rounding_noise,VALUE,...`.
std::string component_measurements_csv(const ComponentMeasurements& measurements);

}  // namespace normtune
