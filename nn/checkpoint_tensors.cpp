#include "nn/checkpoint_tensors.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "nn/json_fields.h"
#include "nn/json_file.h"
#include "nn/printable.h"
#include "nn/pytorch_bin.h"
#include "nn/tensor_file.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

// ---- Containers

/// The weight_map of an index file: for each shard, the tensors that it must hold.
std::map<std::string, std::set<std::string>> read_weight_map(const fs::path& index) {
  const nlohmann::json document = read_json_file(index, ErrorKind::model);
  const JsonFields fields(document, index.string(), ErrorKind::model);
  const nlohmann::json& weight_map = fields.value("weight_map");
  if (!weight_map.is_object())
    fields.refuse("weight_map", "expected an object, found {}", weight_map.type_name());
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, file] : weight_map.items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (shard.empty() || fs::path(shard).filename() != shard || shard == "..") {
      fields.refuse("weight_map", "tensor {}: expected the name of a file beside it, found {}",
                    printable(tensor), printable(file.dump()));
    }
    shards[shard].insert(tensor);
  }
  return shards;
}

/// Throws unless a shard holds exactly the tensors that the index lists for it.
void check_shard(const fs::path& shard, const fs::path& index, std::set<std::string> expected,
                 const std::vector<std::string>& found) {
  for (const std::string& name : found) {
    if (expected.erase(name) == 0) {
      fail(ErrorKind::model, "{}: tensor {} is not listed for this file in {}", shard.string(),
           printable(name), index.filename().string());
    }
  }
  if (!expected.empty()) {
    fail(ErrorKind::model, "{}: tensor {} is missing, which {} lists", shard.string(),
         printable(*expected.begin()), index.filename().string());
  }
}

// ---- Names

bool is_id_buffer(std::string_view name) {
  return name == "bert.embeddings.position_ids" || name == "bert.embeddings.token_type_ids";
}

/// `old_end` at the end of a name becomes `new_end`, where a whole path segment begins with it.
void replace_end(std::string& name, std::string_view old_end, std::string_view new_end) {
  if (!name.ends_with(old_end)) return;
  const size_t begin = name.size() - old_end.size();
  if (begin == 0 || name[begin - 1] == '.') name.replace(begin, old_end.size(), new_end);
}

/// Today's name of a tensor. gamma and beta are renamed in a LayerNorm only: other models use them for other
/// things.
std::string current_name(std::string name) {
  replace_end(name, "LayerNorm.gamma", "LayerNorm.weight");
  replace_end(name, "LayerNorm.beta", "LayerNorm.bias");
  if (name.starts_with("module.")) name.erase(0, std::string_view("module.").size());
  for (const std::string_view part : {"embeddings.", "encoder.", "pooler."}) {
    if (name.starts_with(part)) return "bert." + name;
  }
  return name;
}

bool equal_tensors(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.nbytes() == 0 || std::memcmp(a.raw_data(), b.raw_data(), a.nbytes()) == 0);
}

}  // namespace

CheckpointTensors::CheckpointTensors(const fs::path& folder)
    : source_(require_one_of(folder, {"model.safetensors", "model.safetensors.index.json",
                                      "pytorch_model.bin", "pytorch_model.bin.index.json"})) {
  if (source_.extension() == ".json") {
    add_shards();
  } else {
    add_file(source_);
  }
  resolve_tie("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight");
  resolve_tie("cls.predictions.decoder.bias", "cls.predictions.bias");
}

std::vector<std::string> CheckpointTensors::add_file(const fs::path& path) {
  std::vector<std::string> names;
  if (path.extension() == ".bin") {
    for (NamedTensor& named : read_pytorch_bin(path)) {
      names.push_back(named.name);
      add({.stored_name = std::move(named.name), .file = nullptr, .tensor = std::move(named.tensor)});
    }
    return names;
  }
  const auto file = std::make_shared<const SafetensorsFile>(path);
  names = file->names();
  for (const std::string& name : names) add({.stored_name = name, .file = file, .tensor = {}});
  return names;
}

void CheckpointTensors::add_shards() {
  for (const auto& [name, expected] : read_weight_map(source_)) {
    const fs::path shard = source_.parent_path() / name;
    check_shard(shard, source_, expected, add_file(shard));
  }
}

void CheckpointTensors::add(Place place) {
  const std::string name = current_name(place.stored_name);
  if (is_id_buffer(name)) {
    ignored_.push_back(std::move(place.stored_name));
    return;
  }
  const auto found = places_.find(name);
  if (found != places_.end()) {
    fail(ErrorKind::model, "{}: tensors {} and {} are the same parameter {}", source_.string(),
         printable(found->second.stored_name), printable(place.stored_name), printable(name));
  }
  places_.emplace(name, std::move(place));
}

/// A decoder tensor is another name for `target`: dropped if it is equal, renamed if it is the only one.
void CheckpointTensors::resolve_tie(const char* copy, const char* target) {
  const auto found = places_.find(copy);
  if (found == places_.end()) return;
  const auto original = places_.find(target);
  if (original == places_.end()) {
    places_.emplace(target, found->second);
  } else if (!equal_tensors(read(found->second), read(original->second))) {
    fail(ErrorKind::model, "{}: {} differs from {}, to which it is tied in a BERT", source_.string(), copy,
         target);
  } else {
    ignored_.push_back(copy);
  }
  places_.erase(copy);
}

std::vector<std::string> CheckpointTensors::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

const CheckpointTensors::Place& CheckpointTensors::at(std::string_view name) const {
  const auto found = places_.find(name);
  check(found != places_.end(), "checkpoint: {} has no tensor '{}'", source_.string(), name);
  return found->second;
}

const Shape& CheckpointTensors::shape_of(const Place& place) {
  return place.file ? place.file->entry(place.stored_name).shape : place.tensor.shape();
}

Tensor CheckpointTensors::read(const Place& place) {
  return place.file ? place.file->read(place.stored_name) : place.tensor;
}

const Shape& CheckpointTensors::shape(std::string_view name) const {
  return shape_of(at(name));
}

Tensor CheckpointTensors::read(std::string_view name) const {
  return read(at(name));
}

}  // namespace normtune
