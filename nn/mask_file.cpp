#include "nn/mask_file.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <optional>
#include <sstream>

#include "nn/printable.h"
#include "nn/tensor_file.h"

namespace normtune {
namespace {

constexpr std::string_view indices_end = ".indices";
constexpr std::string_view values_end = ".values";

// ---- Reading

std::string metadata_value(const SafetensorsFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? "" : found->second;
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// A number as the metadata hold it; none for any other text.
std::optional<int64_t> parse_count(const std::string& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && number >= 0 ? std::optional(number) : std::nullopt;
}

SubsetOrigin read_origin(const SafetensorsFile& file) {
  return {.method = metadata_value(file, "method"),
          .base_model_sha256 = metadata_value(file, "base_model_sha256"),
          .selector = metadata_value(file, "selector"),
          .candidates = parse_count(metadata_value(file, "candidates")).value_or(0)};
}

std::vector<int64_t> as_int64(const Tensor& tensor) {
  if (tensor.dtype() == DType::int64) return tensor.to_vector<int64_t>();
  const std::vector<int32_t> narrow = tensor.to_vector<int32_t>();
  return {narrow.begin(), narrow.end()};
}

std::vector<int64_t> read_indices(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsFile::Entry& entry = file.entry(name);
  const bool is_index = entry.type == ElementType::I32 || entry.type == ElementType::I64;
  if (!is_index || entry.shape.rank() != 1) {
    fail(ErrorKind::model, "{}: tensor {}: expected a list of I32 or I64, found {} {}", file.path().string(),
         printable(name), to_string(entry.type), entry.shape);
  }
  std::vector<int64_t> indices = as_int64(file.read(name));
  for (size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] >= 0 && (i == 0 || indices[i] > indices[i - 1])) continue;
    fail(ErrorKind::model, "{}: tensor {}: expected ascending indices from 0, found {} at place {}",
         file.path().string(), printable(name), indices[i], i);
  }
  return indices;
}

Tensor read_values(const SafetensorsFile& file, const std::string& name, size_t count) {
  if (!file.contains(name)) {
    fail(ErrorKind::model, "{}: tensor {} is missing (a mask, which has indices only?)", file.path().string(),
         printable(name));
  }
  NamedTensor named{name, file.read(name)};
  require_shape(named, {static_cast<int64_t>(count)}, file.path().string());
  return named.tensor;
}

/// The metadata say how many elements there are, so that a file cut down by hand is found out.
void check_count(const SafetensorsFile& file, int64_t found) {
  const std::string text = metadata_value(file, "count");
  if (!text.empty() && parse_count(text) != found) {
    fail(ErrorKind::model, "{}: the metadata count {} elements, found {}", file.path().string(),
         printable(text), found);
  }
}

std::string_view without_end(std::string_view name, std::string_view end) {
  return name.substr(0, name.size() - end.size());
}

}  // namespace

int64_t ElementMask::count() const {
  int64_t count = 0;
  for (const MaskedTensor& masked : tensors) count += static_cast<int64_t>(masked.indices.size());
  return count;
}

int64_t SubsetDelta::count() const {
  int64_t count = 0;
  for (const NamedTensor& named : tensors) count += named.tensor.numel();
  for (const SparseValues& sparse : elements) count += static_cast<int64_t>(sparse.indices.size());
  return count;
}

ElementMask read_mask(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  ElementMask mask{.origin = read_origin(file), .tensors = {}};
  for (const std::string& name : file.names()) {
    if (!name.ends_with(indices_end)) {
      fail(ErrorKind::model, "{}: tensor {}: a mask holds NAME.indices only (is this a delta or a model?)",
           path.string(), printable(name));
    }
    mask.tensors.push_back({std::string(without_end(name, indices_end)), read_indices(file, name)});
  }
  std::sort(mask.tensors.begin(), mask.tensors.end(),
            [](const MaskedTensor& a, const MaskedTensor& b) { return a.name < b.name; });
  check_count(file, mask.count());
  return mask;
}

SubsetDelta read_subset_delta(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  SubsetDelta delta{.origin = read_origin(file),
                    .tensors = {},
                    .elements = {},
                    .removed = split_lines(metadata_value(file, "removed")),
                    .config_json = metadata_value(file, "config")};
  for (const std::string& name : file.names()) {
    if (name.ends_with(indices_end)) {
      const std::string tensor(without_end(name, indices_end));
      std::vector<int64_t> indices = read_indices(file, name);
      Tensor values = read_values(file, tensor + std::string(values_end), indices.size());
      delta.elements.push_back({tensor, std::move(indices), std::move(values)});
    } else if (!name.ends_with(values_end)) {
      delta.tensors.push_back({name, file.read(name)});
    } else if (!file.contains(std::string(without_end(name, values_end)) + std::string(indices_end))) {
      fail(ErrorKind::model, "{}: tensor {} has no indices beside it", path.string(), printable(name));
    }
  }
  std::sort(delta.elements.begin(), delta.elements.end(),
            [](const SparseValues& a, const SparseValues& b) { return a.name < b.name; });
  check_count(file, delta.count());
  return delta;
}

// ---- Writing

namespace {

/// int32 where it is enough.
Tensor index_tensor(const std::vector<int64_t>& indices) {
  const bool ascending =
      std::adjacent_find(indices.begin(), indices.end(), std::greater_equal<>()) == indices.end();
  check(ascending && (indices.empty() || indices.front() >= 0), "mask: indices must ascend from 0");
  const Shape shape{static_cast<int64_t>(indices.size())};
  if (!indices.empty() && indices.back() > INT32_MAX) return Tensor::from_values(shape, indices);
  return Tensor::from_values(shape, std::vector<int32_t>(indices.begin(), indices.end()));
}

std::map<std::string, std::string> metadata_of(const SubsetOrigin& origin, int64_t count) {
  std::map<std::string, std::string> metadata = {{"method", origin.method},
                                                 {"base_model_sha256", origin.base_model_sha256},
                                                 {"selector", origin.selector},
                                                 {"count", std::to_string(count)}};
  if (origin.candidates > 0) metadata["candidates"] = std::to_string(origin.candidates);
  return metadata;
}

}  // namespace

void write_mask(const std::filesystem::path& path, const ElementMask& mask) {
  std::vector<NamedTensor> tensors;
  for (const MaskedTensor& masked : mask.tensors) {
    tensors.push_back({masked.name + std::string(indices_end), index_tensor(masked.indices)});
  }
  write_safetensors(path, tensors, metadata_of(mask.origin, mask.count()));
}

void write_subset_delta(const std::filesystem::path& path, const SubsetDelta& delta) {
  std::vector<NamedTensor> tensors = delta.tensors;
  for (const SparseValues& sparse : delta.elements) {
    check(sparse.values.shape() == Shape{static_cast<int64_t>(sparse.indices.size())},
          "write_subset_delta: {}: {} indices for values of shape {}", sparse.name, sparse.indices.size(),
          sparse.values.shape());
    tensors.push_back({sparse.name + std::string(indices_end), index_tensor(sparse.indices)});
    tensors.push_back({sparse.name + std::string(values_end), sparse.values});
  }
  std::map<std::string, std::string> metadata = metadata_of(delta.origin, delta.count());
  if (!delta.removed.empty()) metadata["removed"] = fmt::format("{}", fmt::join(delta.removed, "\n"));
  if (!delta.config_json.empty()) metadata["config"] = delta.config_json;
  write_safetensors(path, tensors, metadata);
}

}  // namespace normtune
