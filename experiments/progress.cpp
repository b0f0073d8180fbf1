#include "experiments/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "experiments/data_file.h"
#include "tensor/error.h"

namespace normtune {
namespace {

/// COLUMNS, else what the terminal says, else 80.
int terminal_columns(int descriptor) {
  if (const char* columns = std::getenv("COLUMNS")) {
    const auto value = parse_integer(columns);
    if (value && *value > 0 && *value < 10000) return static_cast<int>(*value);
  }
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

/// Bytes of the longest prefix that ends with a whole UTF-8 character and takes at most `columns` columns.
std::string_view fit(std::string_view text, int columns) {
  size_t end = 0;
  for (int used = 0; end < text.size() && used < columns; ++used) {
    do ++end;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  }
  return text.substr(0, end);
}

constexpr std::string_view clear_line = "\r\x1b[K";
constexpr std::chrono::milliseconds redraw_interval{100};

}  // namespace

ProgressOutput ProgressOutput::standard_error(bool quiet) {
  ProgressOutput output{.write = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }};
  const char* no_colour = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  const bool dumb = kind != nullptr && std::string_view(kind) == "dumb";
  output.terminal = ::isatty(STDERR_FILENO) == 1 && !dumb;
  output.colour = output.terminal && (no_colour == nullptr || no_colour[0] == '\0');
  output.columns = terminal_columns(STDERR_FILENO);
  output.quiet = quiet;
  return output;
}

std::string format_duration(double seconds) {
  if (!(seconds >= 0.0) || seconds > 1e9) return "?";
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

/// What both forms of a line say.
struct Progress::Numbers {
  double share;
  std::string rate;
  std::string elapsed;
  std::string left;
};

Progress::Progress(std::string title, int64_t total, std::string unit, ProgressOutput output, int64_t initial,
                   std::function<Clock::time_point()> now)
    : title_(std::move(title)),
      total_(total),
      unit_(std::move(unit)),
      output_(std::move(output)),
      initial_(initial),
      now_(std::move(now)),
      start_(now_()),
      last_shown_(start_),
      done_(initial) {}

Progress::~Progress() {
  try {
    finish();
  } catch (...) {  // a line that cannot be shown must not hide the error that ends the loop
  }
}

void Progress::update(int64_t done, std::string note) {
  done_ = done;
  note_ = std::move(note);
  const auto interval = output_.terminal ? redraw_interval : output_.interval;
  if (now_() - last_shown_ >= interval) show();
}

void Progress::message(std::string_view text) {
  if (output_.quiet) return;
  const bool over_bar = output_.terminal && shown_ >= 0 && !finished_;
  output_.write(fmt::format("{}{}\n", over_bar ? clear_line : "", text));
  if (over_bar) show();
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (output_.quiet) return;
  if (shown_ != done_ || output_.terminal) show();
  if (output_.terminal) output_.write("\n");
}

void Progress::show() {
  if (output_.quiet) return;
  last_shown_ = now_();
  shown_ = done_;
  output_.write(output_.terminal ? bar_line() : log_line() + "\n");
}

Progress::Numbers Progress::numbers() const {
  const double elapsed = std::chrono::duration<double>(now_() - start_).count();
  const auto steps = static_cast<double>(done_ - initial_);
  const double rate = elapsed > 0.0 ? steps / elapsed : 0.0;
  const double left = rate > 0.0 ? static_cast<double>(total_ - done_) / rate : -1.0;
  return {.share = total_ > 0 ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0)
                              : 1.0,
          .rate = rate >= 1.0 || rate == 0.0 ? fmt::format("{:.1f} {}/s", rate, unit_)
                                             : fmt::format("{:.1f} s/{}", 1.0 / rate, unit_),
          .elapsed = format_duration(elapsed),
          .left = done_ >= total_ ? "0:00" : format_duration(left)};
}

std::string Progress::log_line() const {
  const Numbers shown = numbers();
  return fmt::format("{}: {}/{} ({:.0f}%), {}, {} elapsed, {} left{}{}", title_, done_, total_,
                     std::floor(100.0 * shown.share), shown.rate, shown.elapsed, shown.left,
                     note_.empty() ? "" : ", ", note_);
}

std::string Progress::bar_line() const {
  const Numbers shown = numbers();
  const std::string head = fmt::format("{} {:3.0f}% ", title_, std::floor(100.0 * shown.share));
  const std::string tail =
      fmt::format(" {}/{} {}<{} {} {}", done_, total_, shown.elapsed, shown.left, shown.rate, note_);
  // One column stays free: a full line would wrap on some terminals.
  const int columns = output_.columns - 1;
  const int width = std::min(40, columns - static_cast<int>(head.size() + tail.size()) - 2);
  if (width < 5) return fmt::format("{}{}", clear_line, fit(head + tail.substr(1), columns));
  const auto filled = static_cast<size_t>(shown.share * width);
  const std::string bar = std::string(filled, '#') + std::string(static_cast<size_t>(width) - filled, ' ');
  const char* begin = output_.colour ? "\x1b[32m" : "";
  const char* end = output_.colour ? "\x1b[0m" : "";
  return fmt::format("{}{}[{}{}{}]{}", clear_line, head, begin, bar, end, fit(tail, columns));
}

}  // namespace normtune
