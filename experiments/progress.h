#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace normtune {

/// Where and how progress is shown. standard_error() fills it from the process; tests fill it themselves.
struct ProgressOutput {
  std::function<void(std::string_view)> write;
  bool terminal = false;                      ///< a bar that redraws itself, else plain lines at intervals
  bool colour = false;                        ///< never with NO_COLOR
  int columns = 80;                           ///< width of the terminal
  bool quiet = false;                         ///< show nothing
  std::chrono::milliseconds interval{30000};  ///< between plain lines; a bar is redrawn ten times a second

  /// The process's standard error: a terminal or a log, its width (COLUMNS first), NO_COLOR.
  static ProgressOutput standard_error(bool quiet);
};

/// Shows how far a loop is, its rate and the time it still needs.
///
///   terminal:  Training  45% [#########            ] 450/1000 0:12<0:15 36.1 step/s loss 0.412
///   log:       Training: 450/1000 (45%), 36.1 step/s, 0:12 elapsed, 0:15 left, loss 0.412
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  /// `unit` is what one step of the loop is called. `initial` steps were done before (a resumed run) and do
  /// not count for the rate.
  Progress(std::string title, int64_t total, std::string unit, ProgressOutput output, int64_t initial = 0,
           std::function<Clock::time_point()> now = Clock::now);
  /// Leaves the line, as finish() does.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// For a loop whose length becomes clear as it goes.
  void set_total(int64_t total) { total_ = total; }
  /// `done` steps of the total are done; `note` is shown behind the numbers.
  void update(int64_t done, std::string note = "");
  /// Prints a line above the bar.
  void message(std::string_view text);
  /// Shows the last state and ends the line. Later calls do nothing.
  void finish();

 private:
  struct Numbers;

  void show();
  Numbers numbers() const;
  std::string bar_line() const;
  std::string log_line() const;

  std::string title_;
  int64_t total_;
  std::string unit_;
  ProgressOutput output_;
  int64_t initial_;
  std::function<Clock::time_point()> now_;
  Clock::time_point start_;
  Clock::time_point last_shown_;
  int64_t done_;
  int64_t shown_ = -1;
  std::string note_;
  bool finished_ = false;
};

/// 0:07, 12:34 or 1:02:03.
std::string format_duration(double seconds);

}  // namespace normtune
