#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "tensor/error.h"

namespace normtune {

/// A file mapped read-only into memory.
class MappedFile {
 public:
  /// Throws Error(kind) if `path` is missing, not a regular file, or cannot be read.
  MappedFile(const std::filesystem::path& path, ErrorKind kind);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The whole content of a file. Throws Error(kind) as MappedFile does.
std::string read_file(const std::filesystem::path& path, ErrorKind kind);

}  // namespace normtune
