#pragma once

#include <filesystem>

namespace normtune {

/// A folder that appears under its name whole or not at all: files go to temporary(), a folder beside it that
/// commit() renames. A folder that is there already is exchanged for the new one in the same step. Without
/// commit() the destructor removes the temporary folder.
///
///   AtomicFolder folder("checkpoint-100");
///   write_json_file(folder.temporary() / "state.json", state);
///   folder.commit();
class AtomicFolder {
 public:
  /// Throws Error(write) if the temporary folder cannot be made; remains of a killed process are removed.
  explicit AtomicFolder(std::filesystem::path path);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  /// Throws Error(write); what was under the name before is still there then.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
};

/// The suffix of temporary folders.
inline constexpr const char* temporary_suffix = ".tmp";

}  // namespace normtune
