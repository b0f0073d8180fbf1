#pragma once

#include <filesystem>
#include <memory>

namespace normtune {

/// The right to work on one run of a comparison, or to write into another folder of it, held by one process
/// at a time (flock on a hidden file in the folder, which goes with the lock) until this object goes or the
/// process ends, however it ends.
class RunLock {
 public:
  /// Makes the folder if need be. Null if a running process holds the lock, or if a fine-tuning runs in the
  /// folder (the child of a comparison that has just been killed). Throws Error(write).
  static std::unique_ptr<RunLock> try_lock(const std::filesystem::path& run_folder);
  /// The same, after waiting for whoever holds it.
  static std::unique_ptr<RunLock> wait_for(const std::filesystem::path& folder);
  /// Somebody works on the run.
  static bool is_locked(const std::filesystem::path& run_folder);

  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  RunLock(std::filesystem::path file, int descriptor) : file_(std::move(file)), descriptor_(descriptor) {}

  std::filesystem::path file_;
  int descriptor_;
};

}  // namespace normtune
