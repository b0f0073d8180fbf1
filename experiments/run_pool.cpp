#include "experiments/run_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "experiments/interrupt.h"

namespace normtune {

using namespace std::chrono_literals;

RunPool::RunPool(std::span<const ComparedRun* const> runs, const ComparisonOptions& options,
                 ProgressOutput output)
    : options_(options),
      waiting_(runs.begin(), runs.end()),
      total_(static_cast<int64_t>(runs.size())),
      progress_(total_, std::move(output)) {}

RunPool::Outcome RunPool::run() {
  const InterruptGuard interrupt_guard;
  sort_out_finished();
  if (done_ > 0) progress_.message(fmt::format("{} of {} runs are finished", done_, total_));
  const auto starts_no_more = [&] { return outcome_.interrupted_by != 0 || outcome_.budget_spent; };
  while (!running_.empty() || (!starts_no_more() && !(waiting_.empty() && locked_.empty()))) {
    pass_on_signal();
    outcome_.budget_spent = is_over_budget();
    if (!starts_no_more()) start_runs();
    poll_runs();
    progress_.update(static_cast<int64_t>(running_.size()), seconds_left());
    std::this_thread::sleep_for(10ms);
  }
  return outcome_;
}

bool RunPool::is_over_budget() {
  if (options_.budget <= 0 || (waiting_.empty() && locked_.empty())) return false;
  const std::chrono::duration<double> elapsed = Progress::Clock::now() - start_;
  if (elapsed.count() < 60 * options_.budget) return false;
  if (!outcome_.budget_spent) {
    progress_.message(
        fmt::format("the budget of {} minutes is spent: no further run is started", options_.budget));
  }
  return true;
}

/// Takes those that are done out of the list, and tidies up what a kill left of them.
void RunPool::sort_out_finished() {
  std::erase_if(waiting_, [&](const ComparedRun* run) {
    const RunFolder folder(*run);
    const std::optional<RunResult> result = folder.result();
    if (!result) return false;
    times_.add(*run, result->train_seconds);
    if (folder.needs_cleaning()) {
      const std::unique_ptr<RunLock> lock = RunLock::try_lock(run->options.output_dir);
      if (lock) folder.clean();
    }
    ++done_;
    return true;
  });
  progress_.set_done(done_);
}

void RunPool::start_runs() {
  const auto now = Progress::Clock::now();
  if (!locked_.empty() && now - last_lock_check_ > 1s) {
    last_lock_check_ = now;
    waiting_.insert(waiting_.end(), locked_.begin(), locked_.end());
    locked_.clear();
    sort_out_finished();
  }
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < options_.jobs) {
    const ComparedRun* run = waiting_.front();
    waiting_.erase(waiting_.begin());
    std::unique_ptr<RunExecution> execution = RunExecution::try_start(*run, options_);
    execution ? running_.push_back(std::move(execution)) : locked_.push_back(run);
  }
}

void RunPool::pass_on_signal() {
  const int signal_number = InterruptGuard::signal();
  if (signal_number == 0 || outcome_.interrupted_by != 0) return;
  outcome_.interrupted_by = signal_number;
  if (!running_.empty()) {
    progress_.message(fmt::format("stopping: {} runs write their checkpoints", running_.size()));
  }
  for (const auto& execution : running_) execution->stop(signal_number);
}

void RunPool::poll_runs() {
  for (size_t i = 0; i < running_.size();) {
    const std::optional<RunEnd> end = running_[i]->poll();
    if (!end) {
      ++i;
      continue;
    }
    // Out of the list first: what is reported tells the time that those in the list still take.
    const std::unique_ptr<RunExecution> execution = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<int64_t>(i));
    if (*end == RunEnd::finished) report_finished(*execution);
    if (*end == RunEnd::failed) report_failed(*execution);
  }
}

void RunPool::report_finished(const RunExecution& execution) {
  const ComparedRun& run = execution.run();
  const RunResult result = RunFolder(run).result().value();
  times_.add(run, execution.elapsed());
  progress_.set_done(++done_);
  ++outcome_.num_executed;
  const std::optional<double> score = result.score("dev", run.metric);
  const std::string text = score ? fmt::format("{:.2f} %", 100 * *score) : "undefined (constant answers)";
  std::string line = fmt::format("[{}/{}] {}: {} {} on dev, {:.1f} s", done_, total_, describe_run(run),
                                 run.metric, text, execution.elapsed());
  if (const std::optional<double> left = seconds_left()) {
    line += fmt::format("; about {} left", format_duration(*left));
  }
  progress_.message(line);
}

void RunPool::report_failed(const RunExecution& execution) {
  const RunFailure failure = RunFolder(execution.run()).failure().value();
  if (!outcome_.first_failure) outcome_.first_failure = failure.exit_code;
  progress_.set_done(++done_);
  progress_.message(fmt::format("[{}/{}] {}: failed (exit code {}): {}", done_, total_,
                                describe_run(execution.run()), failure.exit_code, failure.error));
}

std::optional<double> RunPool::seconds_left() const {
  double seconds = 0;
  for (const ComparedRun* run : waiting_) {
    const std::optional<double> estimate = times_.estimate(*run);
    if (!estimate) return std::nullopt;
    seconds += *estimate;
  }
  for (const auto& execution : running_) {
    const std::optional<double> estimate = times_.estimate(execution->run());
    if (!estimate) return std::nullopt;
    seconds += std::max(0.0, *estimate - execution->elapsed());
  }
  return seconds / static_cast<double>(options_.jobs);
}

std::string describe_run(const ComparedRun& run) {
  return fmt::format("{} {} seed {} learning rate {}", run.task, run.row, run.options.seed,
                     run.options.learning_rate);
}

}  // namespace normtune
