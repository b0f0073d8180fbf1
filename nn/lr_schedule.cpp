#include "nn/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/error.h"

namespace normtune {

ScheduleKind find_schedule(std::string_view name) {
  if (name == "linear") return ScheduleKind::linear;
  if (name == "constant") return ScheduleKind::constant;
  if (name == "cosine") return ScheduleKind::cosine;
  fail(ErrorKind::usage, "unknown schedule '{}': expected linear, constant or cosine", name);
}

double LearningRateSchedule::factor(int64_t step) const {
  if (step < warmup_steps) return static_cast<double>(step) / static_cast<double>(warmup_steps);
  if (kind == ScheduleKind::constant) return 1;
  if (step >= total_steps) return 0;
  // Here warmup_steps <= step < total_steps, so that the decay has a length.
  const auto decay_steps = static_cast<double>(total_steps - warmup_steps);
  if (kind == ScheduleKind::linear) return static_cast<double>(total_steps - step) / decay_steps;
  const double progress = static_cast<double>(step - warmup_steps) / decay_steps;
  return 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

int64_t warmup_length(int64_t warmup_steps, double warmup_ratio, int64_t total_steps) {
  if (warmup_steps > 0) return warmup_steps;
  return static_cast<int64_t>(std::ceil(warmup_ratio * static_cast<double>(total_steps)));
}

}  // namespace normtune
