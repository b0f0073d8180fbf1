#pragma once

#include <cstdint>
#include <string_view>

namespace normtune {

enum class ScheduleKind { linear, constant, cosine };

/// Throws Error(usage) naming the known schedules if there is none of this name.
ScheduleKind find_schedule(std::string_view name);

/// The learning rate at an update, as a factor of the peak. With t = `step`, counted from 0, w =
/// `warmup_steps` and T = `total_steps`:
///
///   t < w:     t / w, so that the first update of a warm-up has learning rate 0
///   linear:    max(0, (T - t) / (T - w))
///   cosine:    (1 + cos(pi (t - w) / (T - w))) / 2, and 0 from T on
///   constant:  1
struct LearningRateSchedule {
  ScheduleKind kind = ScheduleKind::linear;
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;

  double factor(int64_t step) const;
};

/// The length of a warm-up: `warmup_steps` if it is positive, else ceil(warmup_ratio * total_steps).
int64_t warmup_length(int64_t warmup_steps, double warmup_ratio, int64_t total_steps);

}  // namespace normtune
