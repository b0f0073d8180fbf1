#pragma once

#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>

#include "tensor/error.h"

namespace normtune::testing {

/// A new folder that goes, with all it holds, at the end of a test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "normtune_test_XXXXXX").string();
    BOOST_REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

  /// Writes a file, and the folders above it.
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
    return file;
  }

 private:
  std::filesystem::path path_;
};

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  BOOST_REQUIRE(file.good());
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  BOOST_REQUIRE_MESSAGE(file.good(), path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// A file that tools/record_*.py wrote.
inline std::filesystem::path recorded(std::string_view name) {
  return std::filesystem::path(NORMTUNE_TEST_FILES) / name;
}

/// Checks that `action` throws an Error of this kind, one line long, with `expected` in its message.
inline void check_error(ErrorKind kind, std::string_view expected, const std::function<void()>& action) {
  try {
    action();
    BOOST_ERROR("no error; expected: " << expected);
  } catch (const Error& error) {
    const std::string message = error.what();
    BOOST_TEST(static_cast<int>(error.kind()) == static_cast<int>(kind), message);
    BOOST_TEST((message.find(expected) != std::string::npos),
               "expected: " << expected << "\nfound: " << message);
    BOOST_TEST((message.find('\n') == std::string::npos), "more than one line: " << message);
  }
}

/// Runs `read` on every truncation and every one-bit change of `bytes`, written to `path` in turn. Each must
/// give a value or an Error; anything else (another exception, a crash, a hang) fails. Returns how many were
/// refused.
inline int64_t corrupt(std::string_view bytes, const std::filesystem::path& path,
                       const std::function<void()>& read) {
  int64_t refused = 0;
  const auto attempt = [&](std::string_view corrupted) {
    std::filesystem::remove(path);  // some file systems wait for the disk when a file is truncated
    write_bytes(path, corrupted);
    try {
      read();
    } catch (const Error&) {
      ++refused;
    }
  };
  for (size_t length = 0; length < bytes.size(); ++length) attempt(bytes.substr(0, length));
  for (size_t i = 0; i < bytes.size() * 8; ++i) {
    std::string changed(bytes);
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1 << (i % 8)));
    attempt(changed);
  }
  return refused;
}

}  // namespace normtune::testing
