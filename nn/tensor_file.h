#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/safetensors.h"

namespace normtune {

/// All tensors of one file, safetensors or PyTorch's by its extension (".bin").
std::vector<NamedTensor> read_tensor_file(const std::filesystem::path& path);

/// The first of `names` that `folder` has; nothing if it has none.
std::optional<std::filesystem::path> first_present(const std::filesystem::path& folder,
                                                   const std::vector<std::string_view>& names);

/// The same, but throws Error(ErrorKind::model) saying which names were looked for.
std::filesystem::path require_one_of(const std::filesystem::path& folder,
                                     const std::vector<std::string_view>& names);

/// Makes a folder and those above it. Throws Error(ErrorKind::write).
void make_folder(const std::filesystem::path& folder);

void sort_by_name(std::vector<NamedTensor>& tensors);

/// The path of the module that a parameter belongs to: "classifier" of "classifier.weight".
std::string_view module_path(std::string_view parameter_name);

/// Throws Error(ErrorKind::model) unless the tensor is floating-point and has this shape.
void require_shape(const NamedTensor& named, const Shape& shape, const std::string& where);

}  // namespace normtune
