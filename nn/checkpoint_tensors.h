#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "nn/safetensors.h"

namespace normtune {

/// The tensors of a model folder under the names that transformers gives them today, read one at a time.
/// Files are found and names are mapped as read_state_dict says. Tensors of safetensors files stay in the
/// mapped file until they are asked for; those of pytorch_model.bin are held in memory.
class CheckpointTensors {
 public:
  /// Throws Error(ErrorKind::model) as read_state_dict does.
  explicit CheckpointTensors(const std::filesystem::path& folder);

  /// Sorted.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const { return places_.contains(name); }
  /// Throw std::invalid_argument if there is no such tensor.
  const Shape& shape(std::string_view name) const;
  Tensor read(std::string_view name) const;

  /// The file read (of a sharded model, its index).
  const std::filesystem::path& source() const { return source_; }
  /// Names as in the file: id buffers, tied copies.
  const std::vector<std::string>& ignored() const { return ignored_; }

 private:
  /// Where a tensor is: in a mapped file under its stored name, or in memory.
  struct Place {
    std::string stored_name;
    std::shared_ptr<const SafetensorsFile> file;  // null if in memory
    Tensor tensor;
  };

  /// Returns the names in the file.
  std::vector<std::string> add_file(const std::filesystem::path& path);
  void add_shards();
  void add(Place place);
  void resolve_tie(const char* copy, const char* target);
  const Place& at(std::string_view name) const;
  static const Shape& shape_of(const Place& place);
  static Tensor read(const Place& place);

  std::filesystem::path source_;
  std::vector<std::string> ignored_;
  std::map<std::string, Place, std::less<>> places_;  // by today's name
};

}  // namespace normtune
