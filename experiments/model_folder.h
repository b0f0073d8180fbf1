#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/checkpoint_tensors.h"

namespace normtune {

/// The tensors of whatever our commands take for a model, under their published names: a plain folder, read
/// one tensor at a time, with the adapters in its adapterhub/, if any; or a PEFT or AdapterHub folder over
/// the base that it names, loaded whole, with low-rank updates merged. What loading would draw at random (a
/// missing classifier) is not among them.
class ModelFolder {
 public:
  /// Throws Error(model) as CheckpointTensors and load_model do.
  explicit ModelFolder(std::filesystem::path folder);

  const std::filesystem::path& path() const { return path_; }
  /// The file with the weights: of a delta folder, those of its base.
  const std::filesystem::path& weights_file() const { return weights_file_; }
  /// SHA-256 of the weights, as runs note it of their base model.
  std::string weights_sha256() const;

  /// Sorted.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const;
  /// Throw std::invalid_argument if there is no such tensor; read() throws Error(model) if it is not
  /// floating-point.
  const Shape& shape(std::string_view name) const;
  Tensor read(std::string_view name) const;

 private:
  void load_delta();

  std::filesystem::path path_, weights_file_;
  std::optional<CheckpointTensors> checkpoint_;
  std::map<std::string, Tensor, std::less<>> in_memory_;
};

}  // namespace normtune
