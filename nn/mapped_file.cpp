#include "nn/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace normtune {
namespace {

/// Closes a file descriptor at the end of a scope; a mapping outlives it.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
};

[[noreturn]] void cannot_read(const std::filesystem::path& path, ErrorKind kind, int error_number) {
  fail(kind, "cannot read {}: {}", path.string(), std::generic_category().message(error_number));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path, ErrorKind kind) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.number < 0) cannot_read(path, kind, errno);
  struct stat status {};
  if (::fstat(file.number, &status) != 0) cannot_read(path, kind, errno);
  if (S_ISDIR(status.st_mode)) fail(kind, "cannot read {}: it is a folder, expected a file", path.string());
  if (!S_ISREG(status.st_mode)) fail(kind, "cannot read {}: it is not a regular file", path.string());
  if (status.st_size == 0) return;  // mmap refuses empty files
  void* address =
      ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file.number, 0);
  if (address == MAP_FAILED) cannot_read(path, kind, errno);
  data_ = static_cast<const std::byte*>(address);
  size_ = static_cast<size_t>(status.st_size);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string read_file(const std::filesystem::path& path, ErrorKind kind) {
  return std::string(MappedFile(path, kind).text());
}

}  // namespace normtune
