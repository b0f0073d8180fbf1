#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>
#include <string>

namespace normtune {

/// What went wrong, seen from the user's side. The value is the exit code of the program.
enum class ErrorKind {
  internal = 1,       ///< a bug of ours
  usage = 2,          ///< options, unknown names, a device or precision that is not there
  model = 3,          ///< a file of a model or a configuration is missing, malformed or does not fit
  data = 4,           ///< a data file is missing or malformed; a label that the task does not have
  numeric = 5,        ///< a loss or gradient that is not finite
  out_of_memory = 6,  ///< an allocation failed
  write = 7,          ///< a file cannot be written, or its folder is in use
};

/// An error that the user can act on. The message is one line: what, where, expected against found, what to
/// do.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws an Error of `kind` with a formatted message.
template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws std::invalid_argument unless `condition`: for mistakes of the calling code (shapes, dtypes,
/// devices).
template <typename... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) throw std::invalid_argument(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace normtune
