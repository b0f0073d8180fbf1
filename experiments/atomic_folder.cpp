#include "experiments/atomic_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail_to(const char* action, const fs::path& path, int error_number) {
  fail(ErrorKind::write, "{}: cannot {}: {}", path.string(), action, std::strerror(error_number));
}

/// Makes the entries of a folder durable.
void sync_folder(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_to("open the folder", path, errno);
  const int result = ::fsync(descriptor);
  const int error_number = errno;
  ::close(descriptor);
  if (result != 0) fail_to("flush the folder", path, error_number);
}

/// Swaps two folders in one step; false where the file system cannot.
bool exchange(const fs::path& a, const fs::path& b) {
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
}

void rename_folder(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail_to("rename the folder written for it", to, errno);
}

}  // namespace

AtomicFolder::AtomicFolder(fs::path path)
    : path_(std::move(path)), temporary_(path_.string() + temporary_suffix) {
  std::error_code error;
  fs::remove_all(temporary_, error);
  if (!fs::create_directories(temporary_, error)) {
    fail_to("make the folder", temporary_, error ? error.value() : EEXIST);
  }
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);  // after commit(): the folder that was replaced, if any
}

void AtomicFolder::commit() {
  sync_folder(temporary_);
  std::error_code error;
  if (!fs::exists(path_, error)) {
    rename_folder(temporary_, path_);
  } else if (!exchange(temporary_, path_)) {
    fs::remove_all(path_, error);
    rename_folder(temporary_, path_);
  }
  sync_folder(fs::absolute(path_).parent_path());
}

}  // namespace normtune
