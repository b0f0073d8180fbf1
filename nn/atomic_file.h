#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace normtune {

/// The system calls that writing a file takes, with the conventions of POSIX (-1 and errno for a failure).
/// Tests derive from it to let one of them fail.
class FileCalls {
 public:
  virtual ~FileCalls() = default;
  virtual int open(const char* path, int flags, mode_t mode);
  virtual ssize_t write(int descriptor, const void* bytes, size_t count);
  virtual int fsync(int descriptor);
  virtual int close(int descriptor);
  virtual int rename(const char* from, const char* to);
};

/// Replaces the system calls of every AtomicFile made during its lifetime. Not thread-safe.
class FileCallsGuard {
 public:
  explicit FileCallsGuard(FileCalls& calls);
  ~FileCallsGuard();
  FileCallsGuard(const FileCallsGuard&) = delete;
  FileCallsGuard& operator=(const FileCallsGuard&) = delete;

 private:
  FileCalls* previous_;
};

/// Throws Error(ErrorKind::write) if `path` names something other than a regular file: a folder, or a device,
/// which a rename would replace. Nothing at all may be there.
void require_replaceable(const std::filesystem::path& path);

/// Throws Error(ErrorKind::write) unless a file can be made at `path`: what takes long finds out first. What
/// is there stays, and nothing is left.
void require_writable(const std::filesystem::path& path);

/// A file that appears under its name whole or not at all: bytes go to `path.tmp` in the same folder, which
/// commit() renames. Without commit() the destructor removes the temporary file and what was at `path` stays.
/// Every failure throws Error(ErrorKind::write) naming the path and the reason; so does a path that is not
/// replaceable.
///
///   AtomicFile file("model.safetensors");
///   file.write(header);
///   file.commit();
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  void write(const void* bytes, size_t count);
  /// Flushes, fsyncs, renames, and fsyncs the folder. An fsync that failed is never retried: the system may
  /// have dropped the bytes that it could not write, and a second call would report success.
  void commit();

 private:
  void write_out(const char* bytes, size_t count);
  void flush();
  void close_descriptor();
  void sync_folder();
  [[noreturn]] void fail_to(std::string_view action, int error_number);

  FileCalls& calls_;
  std::filesystem::path path_;
  std::filesystem::path temporary_path_;
  int descriptor_ = -1;
  bool committed_ = false;
  std::string buffer_;
};

/// Writes `bytes` as the whole content of `path`, by way of AtomicFile.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

}  // namespace normtune
