#pragma once

#include <filesystem>
#include <string_view>

namespace normtune {

/// A file that grows record by record. Each record is handed to the system at once, so that a killed process
/// loses none and a reader sees all.
class AppendFile {
 public:
  /// Opens or creates `path`; `exclusive`: it must not be there yet. Throws Error(write).
  explicit AppendFile(std::filesystem::path path, bool exclusive = false);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Throws Error(write) naming file and reason.
  void append(std::string_view bytes);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace normtune
