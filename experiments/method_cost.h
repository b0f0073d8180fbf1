#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/comparison_inputs.h"
#include "experiments/comparison_options.h"
#include "experiments/progress.h"

namespace normtune {

/// What a training step of a method costs on a machine.
struct MethodCost {
  std::string method;
  double ms_per_step = 0;  ///< median
  int64_t peak_rss_bytes = 0;
  std::optional<int64_t> peak_device_bytes;  ///< none on the CPU
  int64_t threads = 0;
  std::string cpu, date;
  double other_load = 0;  ///< processes that wanted a core just before: above 0, they disturbed it
};

/// A higher other_load makes a measurement doubtful.
inline constexpr double disturbing_load = 0.5;

/// The costs of all methods of a comparison, from one and the same machine. What is missing is measured,
/// once: 20 steps behind a first one that does not count, on the first task's batches (the same for every
/// method), with all threads and nothing else running, in a process of its own. The measurements are kept in
/// `costs/`, and that folder's from another machine will do if all methods have one. Empty if a signal came,
/// or if the model is not there to measure.
std::vector<MethodCost> measure_costs(const ComparisonOptions& options, const ComparisonInputs& inputs,
                                      const ProgressOutput& progress);

/// `method,ms_per_step,peak_rss_bytes,peak_device_bytes,threads,cpu,date`
std::string method_costs_csv(const std::vector<MethodCost>& costs);

}  // namespace normtune
