#pragma once

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/error.h"
#include "tests/file_helpers.h"

namespace normtune::fixtures {

using testing::TemporaryFolder;

inline std::string content_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// `action` must throw an Error of this kind, on one line, whose message has all of `parts` in it.
inline void check_error_parts(ErrorKind kind, const std::vector<std::string>& parts,
                              const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string message = error.what();
    BOOST_CHECK_MESSAGE(error.kind() == kind, "kind " << static_cast<int>(error.kind()) << ": " << message);
    BOOST_CHECK_MESSAGE(message.find('\n') == std::string::npos, message);
    for (const std::string& part : parts) {
      BOOST_CHECK_MESSAGE(message.find(part) != std::string::npos, "no '" << part << "' in: " << message);
    }
    return;
  }
  BOOST_ERROR("expected an error about " + (parts.empty() ? std::string("anything") : parts[0]));
}

/// The folder with real tasks, or nothing where NORMTUNE_DATA is not set.
inline std::optional<std::filesystem::path> real_glue_folder() {
  const char* data = std::getenv("NORMTUNE_DATA");
  if (data == nullptr) {
    BOOST_TEST_MESSAGE("skipped: NORMTUNE_DATA is not set");
    return std::nullopt;
  }
  return std::filesystem::path(data) / "glue";
}

}  // namespace normtune::fixtures
