#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace normtune {

/// Locks a folder (by flock on its hidden file, which stays) until this object goes or the process
/// ends, however it ends. A folder that it made and that nothing was written into goes with it.
class FolderLock {
 public:
  static constexpr const char* file_name = ".lock";

  /// Makes the folder if need be. Throws Error(write) if it cannot be made or written, is not a folder, or is
  /// locked by a running process.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  std::filesystem::path folder_;
  bool made_;
  int descriptor_ = -1;
};

/// In a pre-training's folder: the vocabulary and configuration that a new model begins with. It is made anew
/// by every run that does not go on, so it may stay from one that failed.
inline constexpr const char* initial_model_name = "initial";

/// True if nothing but a lock and an initial model lie in the folder, or if there is no such folder.
bool is_empty_run_folder(const std::filesystem::path& folder);

/// Whether a command can go on with what lies in its output folder.
enum class CanResume { no, yes };

/// Throws Error(usage), with the ways out, unless the folder is empty.
void require_empty_run_folder(const std::filesystem::path& folder, CanResume can_resume = CanResume::no);

/// Throws Error(usage) that names `option` if `output`, a file or folder, is one of the inputs or lies in
/// one: writing it would destroy what is read. Inputs are files and folders; empty paths are none.
void require_outside_inputs(std::string_view option, const std::filesystem::path& output,
                            const std::vector<std::filesystem::path>& inputs);

/// Removes what a run writes (model, logs, results, checkpoints), and nothing else. Throws Error(write).
void remove_run_files(const std::filesystem::path& folder);

/// Removes what a killed process left half-written: temporary files and folders of a run.
void remove_temporary_run_files(const std::filesystem::path& folder);

}  // namespace normtune
