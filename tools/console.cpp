#include "tools/console.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tensor/error.h"

namespace normtune {

namespace {

[[noreturn]] void fail_to_write_output() {
  fail(ErrorKind::write, "cannot write to standard output: {}", std::strerror(errno));
}

/// Writes one line to standard error; if even that fails there is nobody left to tell.
void write_error_line(std::string_view label, const char* colour, std::string_view line) {
  const char* no_colour = std::getenv("NO_COLOR");
  const bool wanted = no_colour == nullptr || *no_colour == '\0';
  const bool coloured = colour != nullptr && wanted && isatty(STDERR_FILENO) != 0;
  std::string text(label);
  if (coloured) text = fmt::format("\033[{}m{}\033[0m", colour, label);
  text.append(line).push_back('\n');
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

void prepare_standard_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) != -1) continue;
    // The wrong direction on purpose: reading a closed input or writing a closed output must fail. open()
    // returns the lowest free number, which is this one.
    const int flags = descriptor == STDOUT_FILENO ? O_RDONLY : O_WRONLY;
    if (open("/dev/null", flags) != descriptor) std::_Exit(static_cast<int>(ErrorKind::internal));
  }
}

void write_output(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail_to_write_output();
}

void flush_output() {
  if (std::fflush(stdout) != 0) fail_to_write_output();
}

void print_error(std::string_view message) {
  std::string line(message);
  std::replace_if(
      line.begin(), line.end(), [](char character) { return character == '\n' || character == '\r'; }, ' ');
  write_error_line("normtune: error: ", "1;31", line);
}

void Console::result(std::string_view line) const {
  if (json_) return;
  write_output(line);
  if (!line.ends_with('\n')) write_output("\n");
}

void Console::document(const nlohmann::ordered_json& document) const {
  if (json_) write_output(document.dump(2) + "\n");
}

void Console::note(std::string_view line) const {
  if (!quiet_) write_error_line("", nullptr, line);
}

void Console::detail(std::string_view line) const {
  if (verbose_) write_error_line("", nullptr, line);
}

void Console::warning(std::string_view line) const {
  write_error_line("normtune: warning: ", "1;33", line);
}

}  // namespace normtune
