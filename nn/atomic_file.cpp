#include "nn/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "tensor/error.h"

namespace normtune {
namespace {

constexpr size_t buffer_bytes = 1 << 16;

FileCalls& system_file_calls() {
  static FileCalls calls;
  return calls;
}

FileCalls* current_file_calls = nullptr;  // null: those of the system

/// The folder that holds `path`, as a name that open() takes.
std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

int FileCalls::open(const char* path, int flags, mode_t mode) {
  return ::open(path, flags, mode);
}
ssize_t FileCalls::write(int descriptor, const void* bytes, size_t count) {
  return ::write(descriptor, bytes, count);
}
int FileCalls::fsync(int descriptor) {
  return ::fsync(descriptor);
}
int FileCalls::close(int descriptor) {
  return ::close(descriptor);
}
int FileCalls::rename(const char* from, const char* to) {
  return std::rename(from, to);
}

FileCallsGuard::FileCallsGuard(FileCalls& calls) : previous_(std::exchange(current_file_calls, &calls)) {}
FileCallsGuard::~FileCallsGuard() {
  current_file_calls = previous_;
}

void require_replaceable(const std::filesystem::path& path) {
  std::error_code unused;  // what cannot be looked at cannot be opened either, and opening says why
  const std::filesystem::file_status found = std::filesystem::status(path, unused);
  if (!std::filesystem::exists(found) || std::filesystem::is_regular_file(found)) return;
  fail(ErrorKind::write, "cannot write {}: {}; expected the path of a file", path.string(),
       std::filesystem::is_directory(found) ? "Is a directory" : "found a device, pipe or socket");
}

AtomicFile::AtomicFile(std::filesystem::path path)
    : calls_(current_file_calls ? *current_file_calls : system_file_calls()), path_(std::move(path)) {
  require_replaceable(path_);
  temporary_path_ = path_;
  temporary_path_ += ".tmp";
  descriptor_ = calls_.open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_to("opening", errno);
  buffer_.reserve(buffer_bytes);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) calls_.close(descriptor_);
  if (!committed_) ::unlink(temporary_path_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  write(bytes.data(), bytes.size());
}

void AtomicFile::write(const void* bytes, size_t count) {
  const char* begin = static_cast<const char*>(bytes);
  if (buffer_.size() + count > buffer_bytes) flush();
  if (count > buffer_bytes) {
    write_out(begin, count);
  } else {
    buffer_.append(begin, count);
  }
}

void AtomicFile::write_out(const char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t written = calls_.write(descriptor_, bytes, count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_to("writing", errno);
    bytes += written;
    count -= static_cast<size_t>(written);
  }
}

void AtomicFile::flush() {
  write_out(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicFile::commit() {
  check(descriptor_ >= 0, "atomic file: {} was committed already", path_.string());
  flush();
  if (calls_.fsync(descriptor_) != 0) fail_to("syncing", errno);
  close_descriptor();
  if (calls_.rename(temporary_path_.c_str(), path_.c_str()) != 0) fail_to("renaming", errno);
  committed_ = true;
  sync_folder();
}

void AtomicFile::close_descriptor() {
  if (calls_.close(std::exchange(descriptor_, -1)) != 0) fail_to("closing", errno);
}

/// Without it the new name may be lost in a power cut although the bytes are safe.
void AtomicFile::sync_folder() {
  const int folder = calls_.open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (folder < 0) fail_to("syncing the folder of", errno);
  const int error_number = calls_.fsync(folder) == 0 ? 0 : errno;
  calls_.close(folder);
  // Some file systems cannot sync a folder and say EINVAL; their names are as safe as they can be.
  if (error_number != 0 && error_number != EINVAL) fail_to("syncing the folder of", error_number);
}

void AtomicFile::fail_to(std::string_view action, int error_number) {
  fail(ErrorKind::write, "cannot write {}: {} (while {} {})", path_.string(),
       std::generic_category().message(error_number), action,
       committed_ ? path_.string() : temporary_path_.string());
}

void require_writable(const std::filesystem::path& path) {
  const AtomicFile never_committed(path);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace normtune
