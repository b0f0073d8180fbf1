#include "nn/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "nn/atomic_file.h"
#include "nn/json_file.h"
#include "nn/printable.h"
#include "nn/safetensors_writer.h"

static_assert(std::endian::native == std::endian::little,
              "model files are little-endian and read as they are");

namespace normtune {
namespace {

using nlohmann::json;

constexpr uint64_t max_header_bytes = 100'000'000;
constexpr std::string_view metadata_key = "__metadata__";

/// Size in bytes of the length field in front of the header.
constexpr size_t length_bytes = 8;

std::string in_safetensors_file(const std::filesystem::path& path) {
  return "safetensors file " + path.string();
}

/// The header's text, after the checks that need no JSON.
std::string_view header_text(const std::filesystem::path& path, std::string_view file) {
  if (file.size() < length_bytes) {
    fail(ErrorKind::model, "{}: truncated: {} bytes, expected at least 8", in_safetensors_file(path),
         file.size());
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), length_bytes);
  if (length > max_header_bytes) {
    fail(ErrorKind::model, "{}: header of {} bytes, expected at most {}: not a safetensors file?",
         in_safetensors_file(path), length, max_header_bytes);
  }
  if (length > file.size() - length_bytes) {
    fail(ErrorKind::model, "{}: truncated: the header needs {} bytes, the file has {}",
         in_safetensors_file(path), length_bytes + length, file.size());
  }
  const std::string_view header = file.substr(length_bytes, length);
  if (!header.starts_with('{')) {
    fail(ErrorKind::model, "{}: the header does not begin with '{{': not a safetensors file?",
         in_safetensors_file(path));
  }
  return header;
}

/// A list of non-negative integers; nothing for anything else.
std::optional<std::vector<int64_t>> sizes_from(const json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<int64_t> sizes;
  for (const json& size : value) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > INT64_MAX) return std::nullopt;
    sizes.push_back(size.get<int64_t>());
  }
  return sizes;
}

ElementType type_from(const json& value, const std::string& where) {
  if (!value.is_string()) fail(ErrorKind::model, "{}: dtype is not a string", where);
  const auto name = value.get<std::string>();
  const auto type = element_type(name);
  if (!type) {
    fail(ErrorKind::model, "{}: dtype {} is not supported; convert the tensor to F32, F16 or BF16", where,
         printable(name));
  }
  return *type;
}

void check_keys(const json& value, const std::string& where) {
  if (!value.is_object())
    fail(ErrorKind::model, "{}: expected an object, found {}", where, value.type_name());
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!value.contains(key)) fail(ErrorKind::model, "{}: {} is missing", where, key);
  }
  if (value.size() == 3) return;
  for (const auto& [key, unused] : value.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      fail(ErrorKind::model, "{}: unexpected key {}", where, printable(key));
    }
  }
}

SafetensorsFile::Entry entry_from(const json& value, const std::string& where) {
  check_keys(value, where);
  const ElementType type = type_from(value["dtype"], where);
  const auto shape = sizes_from(value["shape"]);
  if (!shape) fail(ErrorKind::model, "{}: shape is not a list of sizes", where);
  const auto offsets = sizes_from(value["data_offsets"]);
  if (!offsets || offsets->size() != 2) fail(ErrorKind::model, "{}: data_offsets is not [begin, end]", where);
  const int64_t begin = offsets->front(), end = offsets->back();
  if (end < begin)
    fail(ErrorKind::model, "{}: data_offsets end before they begin ({} < {})", where, end, begin);

  const auto bytes = byte_count(*shape, type);
  if (!bytes) fail(ErrorKind::model, "{}: the size of shape {} does not fit 63 bits", where, *shape);
  if (*bytes != end - begin) {
    fail(ErrorKind::model, "{}: shape {} of {} takes {} bytes, data_offsets span {}", where, *shape,
         to_string(type), *bytes, end - begin);
  }
  if (shape->size() > Shape::max_rank) {
    fail(ErrorKind::model, "{}: {} dimensions, expected at most {}", where, shape->size(), Shape::max_rank);
  }
  return {.type = type, .shape = Shape(std::span<const int64_t>(*shape)), .begin = begin, .end = end};
}

std::map<std::string, std::string> metadata_from(const json& value, const std::string& where) {
  if (!value.is_object()) fail(ErrorKind::model, "{}: {} is not an object", where, metadata_key);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      fail(ErrorKind::model, "{}: {}: the value of {} is not a string", where, metadata_key, printable(key));
    }
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path), file_(path, ErrorKind::model) {
  const std::string_view header = header_text(path_, file_.text());
  data_offset_ = length_bytes + header.size();
  read_header(header);
  check_layout(static_cast<int64_t>(file_.bytes().size() - data_offset_));
}

void SafetensorsFile::read_header(std::string_view header) {
  const json document = parse_json(header, in_safetensors_file(path_) + ": header", ErrorKind::model);
  for (const auto& [name, value] : document.items()) {
    if (name == metadata_key) {
      metadata_ = metadata_from(value, in_safetensors_file(path_));
    } else {
      entries_.emplace(name, entry_from(value, in_safetensors_file(path_) + ": tensor " + printable(name)));
    }
  }
}

/// The tensors must lie one behind the other, from the first byte behind the header to the end of the file.
void SafetensorsFile::check_layout(int64_t data_bytes) const {
  std::vector<std::pair<std::pair<int64_t, int64_t>, std::string_view>> spans;
  for (const auto& [name, entry] : entries_) spans.push_back({{entry.begin, entry.end}, name});
  std::sort(spans.begin(), spans.end());
  int64_t expected = 0;
  for (const auto& [span, name] : spans) {
    if (span.first != expected) {
      fail(ErrorKind::model, "{}: tensor {}: expected its bytes to begin at {}, found {} ({})",
           in_safetensors_file(path_), printable(name), expected, span.first,
           span.first > expected ? "a hole before it" : "an overlap");
    }
    expected = span.second;
  }
  if (expected != data_bytes) {
    fail(ErrorKind::model, "{}: {}: the tensors take {} bytes behind the header, the file has {}",
         in_safetensors_file(path_), expected > data_bytes ? "truncated" : "surplus bytes at the end",
         expected, data_bytes);
  }
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

const SafetensorsFile::Entry& SafetensorsFile::entry(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    fail(ErrorKind::model, "{}: there is no tensor {}", in_safetensors_file(path_), printable(name));
  }
  return found->second;
}

Tensor SafetensorsFile::read(std::string_view name) const {
  const Entry& entry = this->entry(name);
  if (!dtype_for(entry.type)) {
    fail(ErrorKind::model, "{}: tensor {}: dtype {} cannot be read; convert the tensor to F32 or I64",
         in_safetensors_file(path_), printable(name), to_string(entry.type));
  }
  const auto bytes = file_.bytes().subspan(data_offset_ + static_cast<size_t>(entry.begin),
                                           static_cast<size_t>(entry.end - entry.begin));
  return tensor_from_bytes(entry.type, entry.shape, bytes);
}

namespace {

ElementType stored_type(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return ElementType::F32;
    case DType::float64:
      return ElementType::F64;
    case DType::bfloat16:
      return ElementType::BF16;
    case DType::uint8:
      return ElementType::U8;
    case DType::int32:
      return ElementType::I32;
    case DType::int64:
      return ElementType::I64;
  }
  throw std::invalid_argument("write_safetensors: unknown dtype");
}

/// Place of a type in the file: the widest alignment first.
int alignment_rank(DType dtype) {
  constexpr std::array order{DType::int64, DType::float64,  DType::float32,
                             DType::int32, DType::bfloat16, DType::uint8};
  return static_cast<int>(std::find(order.begin(), order.end(), dtype) - order.begin());
}

void check_distinct(const std::vector<TensorOutline>& outlines) {
  std::set<std::string_view> names;
  for (const TensorOutline& outline : outlines) {
    check(outline.name != metadata_key, "write_safetensors: {} is no name for a tensor", outline.name);
    check(names.insert(outline.name).second, "write_safetensors: tensor {} comes twice", outline.name);
  }
}

void check_distinct(const std::vector<NamedTensor>& tensors) {
  std::set<std::pair<const void*, int64_t>> places;
  for (const NamedTensor& named : tensors) {
    check(named.tensor.defined(), "write_safetensors: tensor {} is undefined", named.name);
    const bool fresh = places.insert({named.tensor.raw_data(), named.tensor.numel()}).second;
    check(fresh || named.tensor.numel() == 0,
          "write_safetensors: tensor {} shares its memory with another; write a tied tensor once",
          named.name);
  }
}

size_t nbytes(const TensorOutline& outline) {
  return static_cast<size_t>(outline.shape.numel()) * size_of(outline.dtype);
}

/// The header with its length in front, padded so that tensor bytes begin at a multiple of 8.
std::string header_for(const std::vector<TensorOutline>& sorted,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json document;
  document[std::string(metadata_key)] = metadata;
  size_t offset = 0;
  for (const TensorOutline& outline : sorted) {
    nlohmann::ordered_json& entry = document[outline.name];
    entry["dtype"] = to_string(stored_type(outline.dtype));
    entry["shape"] = std::vector<int64_t>(outline.shape.begin(), outline.shape.end());
    entry["data_offsets"] = {offset, offset + nbytes(outline)};
    offset += nbytes(outline);
  }
  std::string header = document.dump();
  header.append((8 - header.size() % 8) % 8, ' ');
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), length_bytes) + header;
}

}  // namespace

void write_safetensors_one_by_one(const std::filesystem::path& path, std::vector<TensorOutline> outlines,
                                  const std::function<Tensor(const TensorOutline&)>& make_tensor,
                                  std::map<std::string, std::string> metadata) {
  metadata["format"] = "pt";
  check_distinct(outlines);
  std::sort(outlines.begin(), outlines.end(), [](const TensorOutline& a, const TensorOutline& b) {
    return std::pair(alignment_rank(a.dtype), std::string_view(a.name)) <
           std::pair(alignment_rank(b.dtype), std::string_view(b.name));
  });

  AtomicFile file(path);
  file.write(header_for(outlines, metadata));
  for (const TensorOutline& outline : outlines) {
    const Tensor tensor = make_tensor(outline).to(Device{});
    check(tensor.dtype() == outline.dtype && tensor.shape() == outline.shape,
          "write_safetensors: tensor {}: expected {} {}, found {} {}", outline.name, to_string(outline.dtype),
          outline.shape, to_string(tensor.dtype()), tensor.shape());
    if (tensor.nbytes() > 0) file.write(tensor.raw_data(), tensor.nbytes());
  }
  file.commit();
}

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       std::map<std::string, std::string> metadata) {
  check_distinct(tensors);
  std::vector<TensorOutline> outlines;
  std::map<std::string_view, const Tensor*> by_name;
  for (const NamedTensor& named : tensors) {
    outlines.push_back({named.name, named.tensor.dtype(), named.tensor.shape()});
    by_name[named.name] = &named.tensor;
  }
  write_safetensors_one_by_one(
      path, std::move(outlines), [&](const TensorOutline& outline) { return *by_name.at(outline.name); },
      std::move(metadata));
}

}  // namespace normtune
