#include "experiments/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/atomic_folder.h"
#include "experiments/checkpoint_folder.h"
#include "experiments/training_options.h"
#include "nn/tensor_file.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

/// Everything that a run writes beside its checkpoints and event files.
constexpr std::array<std::string_view, 17> run_file_names = {"config.json",
                                                             "model.safetensors",
                                                             "vocab.txt",
                                                             "tokenizer.json",
                                                             "tokenizer_config.json",
                                                             "special_tokens_map.json",
                                                             "adapterhub",
                                                             "peft",
                                                             "best",
                                                             "metrics.jsonl",
                                                             "trainer_state.json",
                                                             "all_results.json",
                                                             "train_results.json",
                                                             "eval_results.json",
                                                             "predictions.jsonl",
                                                             "predictions_mm.jsonl",
                                                             "held_out.jsonl"};

bool is_run_file(std::string_view name) {
  if (name.starts_with("events.out.tfevents.")) return true;
  constexpr std::string_view suffix = temporary_suffix;
  if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
  return checkpoint_step(name) ||
         std::find(run_file_names.begin(), run_file_names.end(), name) != run_file_names.end();
}

void remove_entries(const fs::path& folder, const std::function<bool(std::string_view)>& is_removed) {
  std::vector<fs::path> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (is_removed(entry.path().filename().string())) paths.push_back(entry.path());
  }
  for (const fs::path& path : paths) {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) fail(ErrorKind::write, "{}: cannot remove: {}", path.string(), error.message());
  }
}

void make_output_folder(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_directory(path, error)) {
    fail(ErrorKind::write, "output folder {}: is a file; choose another --output_dir", path.string());
  }
  make_folder(path);
}

/// What the process that holds the lock wrote about itself.
std::string lock_owner(int descriptor) {
  std::array<char, 64> text{};
  const ssize_t count = ::pread(descriptor, text.data(), text.size() - 1, 0);
  return count > 0 ? std::string(text.data(), static_cast<size_t>(count)) : "unknown";
}

/// For the message of the next process only: a full disk that refuses it does not weaken the lock.
void write_lock_owner(int descriptor) {
  const std::string owner = fmt::format("process {}", ::getpid());
  if (::ftruncate(descriptor, 0) != 0) return;
  [[maybe_unused]] const ssize_t count = ::pwrite(descriptor, owner.data(), owner.size(), 0);
}

}  // namespace

FolderLock::FolderLock(const fs::path& folder) : folder_(folder), made_(!fs::exists(folder)) {
  make_output_folder(folder);
  const fs::path file = folder / file_name;
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(ErrorKind::write, "{}: cannot write: {}", file.string(), std::strerror(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) {
    write_lock_owner(descriptor_);
    return;
  }
  const int error_number = errno;
  const std::string owner = lock_owner(descriptor_);
  ::close(descriptor_);
  if (error_number != EWOULDBLOCK) {
    fail(ErrorKind::write, "{}: cannot lock: {}", file.string(), std::strerror(error_number));
  }
  fail(ErrorKind::write,
       "output folder {}: in use by a running process ({}); wait for it or choose another --output_dir",
       folder.string(), owner);
}

FolderLock::~FolderLock() {
  std::error_code error;  // what cannot be tidied up stays
  const fs::directory_iterator entries(folder_, error);
  if (made_ && !error && std::distance(begin(entries), end(entries)) == 1) fs::remove_all(folder_, error);
  ::close(descriptor_);
}

bool is_empty_run_folder(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return true;  // a file in its place is found when the folder is made
  return std::all_of(fs::directory_iterator(folder), fs::directory_iterator(),
                     [](const fs::directory_entry& entry) {
                       const fs::path name = entry.path().filename();
                       return name == FolderLock::file_name || name == initial_model_name;
                     });
}

void require_empty_run_folder(const fs::path& folder, CanResume can_resume) {
  if (is_empty_run_folder(folder)) return;
  fail(ErrorKind::usage,
       "output folder {}: is not empty; use --overwrite_output_dir to replace {}, or another "
       "--output_dir",
       folder.string(),
       can_resume == CanResume::yes ? "the run in it, --resume_from_checkpoint to continue it"
                                    : "what an earlier call wrote");
}

void require_outside_inputs(std::string_view option, const fs::path& output,
                            const std::vector<fs::path>& inputs) {
  for (const fs::path& input : inputs) {
    if (input.empty() || !lies_in(output, input)) continue;
    fail(ErrorKind::usage, "--{} {}: {}; choose another place", option, output.string(),
         fs::is_directory(input) ? fmt::format("lies in {}, which is read", input.string())
                                 : "is a file that is read");
  }
}

void remove_run_files(const fs::path& folder) {
  remove_entries(folder, is_run_file);
}

void remove_temporary_run_files(const fs::path& folder) {
  remove_entries(folder,
                 [](std::string_view name) { return name.ends_with(temporary_suffix) && is_run_file(name); });
}

}  // namespace normtune
