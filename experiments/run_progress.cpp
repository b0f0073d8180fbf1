#include "experiments/run_progress.h"

#include <fmt/format.h>

#include <algorithm>

namespace normtune {

void RunTimes::add(const ComparedRun& run, double seconds) {
  for (Sum* sum : {&rows_[run.row], &all_}) {
    sum->seconds += seconds;
    sum->work += run.work;
  }
}

std::optional<double> RunTimes::estimate(const ComparedRun& run) const {
  const auto found = rows_.find(run.row);
  const Sum& sum = found != rows_.end() ? found->second : all_;
  if (sum.work <= 0) return std::nullopt;
  return sum.seconds / sum.work * run.work;
}

RunProgress::RunProgress(int64_t total, ProgressOutput output) : total_(total), output_(std::move(output)) {}

RunProgress::~RunProgress() {
  erase_bar();
}

void RunProgress::erase_bar() {
  if (bar_shown_) output_.write("\r\033[K");
  bar_shown_ = false;
}

void RunProgress::message(std::string_view text) {
  if (output_.quiet || !output_.write) return;
  erase_bar();
  output_.write(fmt::format("{}\n", text));
  last_shown_ = {};
}

void RunProgress::update(int64_t num_running, std::optional<double> seconds_left) {
  const auto now = Progress::Clock::now();
  if (output_.quiet || !output_.write || !output_.terminal ||
      now - last_shown_ < std::chrono::milliseconds(200)) {
    return;
  }
  last_shown_ = now;
  constexpr int64_t bar_width = 20;
  const int64_t filled = total_ == 0 ? bar_width : bar_width * done_ / total_;
  std::string line =
      fmt::format("Runs [{:<{}}] {}/{}, {} under way, {} elapsed",
                  std::string(static_cast<size_t>(filled), '#'), bar_width, done_, total_, num_running,
                  format_duration(std::chrono::duration<double>(now - start_).count()));
  if (seconds_left) line += fmt::format(", about {} left", format_duration(*seconds_left));
  line.resize(std::min(line.size(), static_cast<size_t>(std::max(output_.columns - 1, 1))));
  output_.write("\r\033[K" + line);
  bar_shown_ = true;
}

}  // namespace normtune
