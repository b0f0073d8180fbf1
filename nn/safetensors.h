#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "nn/element_type.h"
#include "nn/mapped_file.h"
#include "tensor/tensor.h"

namespace normtune {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// A safetensors file: `u64 N | N bytes of JSON header | tensor bytes`, little-endian. The header is checked
/// whole when the file is opened (holes, overlaps, sizes that wrap, duplicate names: Error(ErrorKind::model)
/// naming file and tensor); tensors are copied out of the mapped file when asked for.
class SafetensorsFile {
 public:
  struct Entry {
    ElementType type;
    Shape shape;
    int64_t begin, end;  // of the bytes, from the first one behind the header
  };

  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  /// In byte order.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const { return entries_.contains(name); }
  /// Throws Error(ErrorKind::model) if there is no such tensor; so does read().
  const Entry& entry(std::string_view name) const;
  /// A copy on the CPU, converted as tensor_from_bytes says. Throws Error(ErrorKind::model) for U32 and U64.
  Tensor read(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  void read_header(std::string_view header);
  void check_layout(int64_t data_bytes) const;

  std::filesystem::path path_;
  MappedFile file_;
  size_t data_offset_ = 0;  // of the first tensor byte in the file
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<std::string, std::string> metadata_;
};

/// Writes a safetensors file (float32, float64, int32, int64), atomically and tensor by tensor: widest dtype
/// first, then by name; header padded with spaces to a multiple of 8. "format": "pt" is added to `metadata`,
/// since Hugging Face loaders ask for it. Throws Error(ErrorKind::write); std::invalid_argument for a name
/// that comes twice or two names for the same memory (a tied tensor is written once).
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       std::map<std::string, std::string> metadata = {});

}  // namespace normtune
