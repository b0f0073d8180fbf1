#include "experiments/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "experiments/run_folder.h"
#include "nn/tensor_file.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

constexpr const char* run_lock_name = ".compare.lock";

int open_lock(const fs::path& file, int flags) {
  return ::open(file.c_str(), O_RDWR | O_CLOEXEC | flags, 0666);
}

/// The open file is still the one of that name: whoever held the lock before has removed it at the end.
bool has_name(int descriptor, const fs::path& file) {
  struct stat opened {
  }, named{};
  return ::fstat(descriptor, &opened) == 0 && ::stat(file.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

/// The file is there and locked.
bool is_held(const fs::path& file) {
  const int descriptor = open_lock(file, 0);
  if (descriptor < 0) return false;
  const bool held = ::flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(descriptor);
  return held;
}

[[noreturn]] void fail_to_lock(const fs::path& file) {
  fail(ErrorKind::write, "{}: cannot lock: {}", file.string(), std::strerror(errno));
}

}  // namespace

std::unique_ptr<RunLock> RunLock::try_lock(const fs::path& run_folder) {
  make_folder(run_folder);
  const fs::path file = run_folder / run_lock_name;
  while (true) {
    const int descriptor = open_lock(file, O_CREAT);
    if (descriptor < 0) fail_to_lock(file);
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      const int error_number = errno;
      ::close(descriptor);
      if (error_number == EWOULDBLOCK) return nullptr;
      errno = error_number;
      fail_to_lock(file);
    }
    if (has_name(descriptor, file)) {
      std::unique_ptr<RunLock> lock(new RunLock(file, descriptor));
      return is_held(run_folder / FolderLock::file_name) ? nullptr : std::move(lock);
    }
    ::close(descriptor);
  }
}

std::unique_ptr<RunLock> RunLock::wait_for(const fs::path& folder) {
  std::unique_ptr<RunLock> lock = try_lock(folder);
  for (; !lock; lock = try_lock(folder)) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return lock;
}

bool RunLock::is_locked(const fs::path& run_folder) {
  return is_held(run_folder / run_lock_name) || is_held(run_folder / FolderLock::file_name);
}

RunLock::~RunLock() {
  ::unlink(file_.c_str());  // before the lock goes: whoever gets it then sees that the name is gone
  ::close(descriptor_);
}

}  // namespace normtune
