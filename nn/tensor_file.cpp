#include "nn/tensor_file.h"

#include <algorithm>

#include "nn/printable.h"
#include "nn/pytorch_bin.h"

namespace normtune {

std::vector<NamedTensor> read_tensor_file(const std::filesystem::path& path) {
  if (path.extension() == ".bin") return read_pytorch_bin(path);
  const SafetensorsFile file(path);
  std::vector<NamedTensor> tensors;
  for (const std::string& name : file.names()) tensors.push_back({name, file.read(name)});
  return tensors;
}

std::optional<std::filesystem::path> first_present(const std::filesystem::path& folder,
                                                   const std::vector<std::string_view>& names) {
  for (const std::string_view name : names) {
    std::error_code unused;
    if (std::filesystem::exists(folder / name, unused)) return folder / name;
  }
  return std::nullopt;
}

std::filesystem::path require_one_of(const std::filesystem::path& folder,
                                     const std::vector<std::string_view>& names) {
  std::error_code unused;
  if (!std::filesystem::is_directory(folder, unused)) {
    fail(ErrorKind::model, "{}: there is no such folder", folder.string());
  }
  const auto found = first_present(folder, names);
  if (!found) fail(ErrorKind::model, "{}: has none of {}", folder.string(), fmt::join(names, ", "));
  return *found;
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(ErrorKind::write, "{}: cannot make the folder: {}", folder.string(), error.message());
}

void sort_by_name(std::vector<NamedTensor>& tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const NamedTensor& a, const NamedTensor& b) { return a.name < b.name; });
}

std::string_view module_path(std::string_view parameter_name) {
  const size_t dot = parameter_name.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : parameter_name.substr(0, dot);
}

void require_shape(const NamedTensor& named, const Shape& shape, const std::string& where) {
  const Tensor& tensor = named.tensor;
  if (!is_floating(tensor.dtype()) || !(tensor.shape() == shape)) {
    fail(ErrorKind::model, "{}: tensor {}: expected shape {}, found {} {}", where, printable(named.name),
         shape, to_string(tensor.dtype()), tensor.shape());
  }
}

}  // namespace normtune
