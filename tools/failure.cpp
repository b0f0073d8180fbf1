#include "tools/failure.h"

#include <fmt/format.h>

#include <filesystem>
#include <new>

#include "tensor/error.h"

namespace normtune {

namespace {

Failure make_failure(ErrorKind kind, const std::string& message) {
  return {.exit_code = static_cast<int>(kind), .message = message};
}

Failure make_bug(const std::string& message) {
  return make_failure(
      ErrorKind::internal,
      fmt::format("internal error: {}; this is a bug in normtune: please open an issue with this line, "
                  "the command and the output of normtune --version",
                  message));
}

}  // namespace

Failure describe_failure(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::internal ? make_bug(error.what())
                                               : make_failure(error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    return make_failure(
        ErrorKind::out_of_memory,
        "out of memory beside the tensors; use fewer rows, a smaller batch or shorter sequences");
  } catch (const std::filesystem::filesystem_error& error) {
    return make_failure(ErrorKind::write,
                        fmt::format("{}: {}", error.path1().string(), error.code().message()));
  } catch (const std::exception& error) {
    return make_bug(error.what());
  } catch (...) {
    return make_bug("an exception of unknown type");
  }
}

}  // namespace normtune
