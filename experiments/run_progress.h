#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "experiments/comparison_plan.h"
#include "experiments/progress.h"

namespace normtune {

/// How long runs take, learned from finished ones: time goes by the text that training reads, and differs
/// from row to row.
class RunTimes {
 public:
  void add(const ComparedRun& run, double seconds);
  /// Of a run of any row, if one of its row (or else, of any row) has been seen; else nothing.
  std::optional<double> estimate(const ComparedRun& run) const;

 private:
  struct Sum {
    double seconds = 0, work = 0;
  };
  std::map<std::string, Sum> rows_;
  Sum all_;
};

/// Shows how far a comparison is: a line for every run that ends, and on a terminal a bar below them.
class RunProgress {
 public:
  RunProgress(int64_t total, ProgressOutput output);
  ~RunProgress();
  RunProgress(const RunProgress&) = delete;
  RunProgress& operator=(const RunProgress&) = delete;

  void set_done(int64_t done) { done_ = done; }
  /// A line that stays.
  void message(std::string_view text);
  /// `3/40 runs` with what is under way and the time left, on a terminal only, a few times a second.
  void update(int64_t num_running, std::optional<double> seconds_left);

 private:
  void erase_bar();

  int64_t total_, done_ = 0;
  ProgressOutput output_;
  bool bar_shown_ = false;
  Progress::Clock::time_point start_ = Progress::Clock::now(), last_shown_{};
};

}  // namespace normtune
