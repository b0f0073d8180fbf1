#pragma once

#include <exception>
#include <string>

namespace normtune {

/// How the program ends after an exception: the exit code, and the last line on standard error.
struct Failure {
  int exit_code = 0;
  std::string message;
};

/// An Error has the code of its kind; std::bad_alloc is out of memory; whatever else is thrown is a bug of
/// ours, and the message says how to report it.
Failure describe_failure(const std::exception_ptr& exception);

}  // namespace normtune
