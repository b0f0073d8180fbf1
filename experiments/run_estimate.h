#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "experiments/compare.h"

namespace normtune {

/// What a run will take, roughly.
struct RunEstimate {
  double tflop = 0;          ///< floating-point operations of training, in 1e12
  double seconds = 0;        ///< of training on this machine, with one run at a time on its threads
  int64_t memory_bytes = 0;  ///< weights, gradients, AdamW's moments and what a batch keeps for backward
  bool measured = false;     ///< the time is that of finished runs of the kind
};

/// A run of the plan that may lack its files.
struct EstimatedRun {
  ComparedRun run;
  bool has_id = true;  ///< false: its model, data or mask are not there to hash
  RunState state = RunState::missing;
  RunEstimate estimate;
};

/// The runs of the shard with what each will take, without doing any. Weights, data and masks may be missing:
/// config.json is enough, and a task's published number of rows and usual length of text stand for its files.
///
/// Training costs what its matrix products do (step_work.h), at the rate that a short measured step of the
/// method reaches on this machine, with a model of the same width and three layers. The number of tokens is
/// estimated from characters (4.3 to a token, and three special ones). Evaluation and measurements are left
/// out; they add a few per cent, more where a task has few training rows.
std::vector<EstimatedRun> estimate_runs(ComparisonOptions options);

}  // namespace normtune
