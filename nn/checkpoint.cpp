#include "nn/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "nn/atomic_file.h"
#include "nn/json_fields.h"
#include "nn/json_file.h"
#include "nn/mapped_file.h"
#include "nn/printable.h"
#include "nn/tensor_file.h"

namespace normtune {
namespace {

// ---- Reading: containers

/// The weight_map of an index file: for each shard, the tensors that it must hold.
std::map<std::string, std::set<std::string>> read_weight_map(const std::filesystem::path& index) {
  const nlohmann::json document = read_json_file(index, ErrorKind::model);
  const JsonFields fields(document, index.string(), ErrorKind::model);
  const nlohmann::json& weight_map = fields.value("weight_map");
  if (!weight_map.is_object())
    fields.refuse("weight_map", "expected an object, found {}", weight_map.type_name());
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, file] : weight_map.items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (shard.empty() || std::filesystem::path(shard).filename() != shard || shard == "..") {
      fields.refuse("weight_map", "tensor {}: expected the name of a file beside it, found {}",
                    printable(tensor), printable(file.dump()));
    }
    shards[shard].insert(tensor);
  }
  return shards;
}

std::vector<NamedTensor> read_shards(const std::filesystem::path& index) {
  std::vector<NamedTensor> tensors;
  for (auto& [shard, expected] : read_weight_map(index)) {
    const std::filesystem::path path = index.parent_path() / shard;
    for (NamedTensor& named : read_tensor_file(path)) {
      if (expected.erase(named.name) == 0) {
        fail(ErrorKind::model, "{}: tensor {} is not listed for this file in {}", path.string(),
             printable(named.name), index.filename().string());
      }
      tensors.push_back(std::move(named));
    }
    if (!expected.empty()) {
      fail(ErrorKind::model, "{}: tensor {} is missing, which {} lists", path.string(),
           printable(*expected.begin()), index.filename().string());
    }
  }
  return tensors;
}

// ---- Reading: names

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

using TensorMap = std::map<std::string, Tensor, std::less<>>;

/// A decoder tensor is another name for `target`: dropped if it is equal, renamed if it is the only one.
void resolve_tie(TensorMap& tensors, const char* copy, const char* target, StateDict& state) {
  const auto found = tensors.find(copy);
  if (found == tensors.end()) return;
  const auto original = tensors.find(target);
  if (original == tensors.end()) {
    tensors.emplace(target, found->second);
  } else if (!equal_tensors(found->second, original->second)) {
    fail(ErrorKind::model, "{}: {} differs from {}, to which it is tied in a BERT", state.source.string(),
         copy, target);
  } else {
    state.ignored.push_back(copy);
  }
  tensors.erase(found);
}

TensorMap map_names(std::vector<NamedTensor> stored, StateDict& state) {
  TensorMap tensors;
  std::map<std::string, std::string> origin;  // name in the file, for messages
  for (NamedTensor& named : stored) {
    const std::string name = current_name(named.name);
    if (is_id_buffer(name)) {
      state.ignored.push_back(named.name);
      continue;
    }
    if (!tensors.emplace(name, std::move(named.tensor)).second) {
      fail(ErrorKind::model, "{}: tensors {} and {} are the same parameter {}", state.source.string(),
           printable(origin[name]), printable(named.name), printable(name));
    }
    origin[name] = named.name;
  }
  return tensors;
}

}  // namespace

const Tensor* StateDict::find(std::string_view name) const {
  const auto found = std::lower_bound(tensors.begin(), tensors.end(), name,
                                      [](const NamedTensor& a, std::string_view b) { return a.name < b; });
  return found != tensors.end() && found->name == name ? &found->tensor : nullptr;
}

StateDict read_state_dict(const std::filesystem::path& folder) {
  StateDict state;
  state.source = require_one_of(folder, {"model.safetensors", "model.safetensors.index.json",
                                         "pytorch_model.bin", "pytorch_model.bin.index.json"});
  const bool sharded = state.source.extension() == ".json";
  TensorMap tensors = map_names(sharded ? read_shards(state.source) : read_tensor_file(state.source), state);
  resolve_tie(tensors, "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight", state);
  resolve_tie(tensors, "cls.predictions.decoder.bias", "cls.predictions.bias", state);
  for (auto& [name, tensor] : tensors) state.tensors.push_back({name, std::move(tensor)});
  return state;
}

// ---- The report

namespace {

/// "3", "0-11" or "0-2,5" of ascending numbers.
std::string ranges(const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t begin = 0; begin < numbers.size();) {
    size_t end = begin + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    if (!text.empty()) text += ",";
    text += std::to_string(numbers[begin]);
    if (end - begin > 1) text += "-" + std::to_string(numbers[end - 1]);
    begin = end;
  }
  return text;
}

struct LayeredName {
  std::string before, after;  // around the number
  int64_t layer;
};

/// The parts of "...encoder.layer.N...."; nothing for another name.
std::optional<LayeredName> split_layer(const std::string& name) {
  constexpr std::string_view marker = "encoder.layer.";
  const size_t found = name.find(marker);
  if (found == std::string::npos) return std::nullopt;
  const size_t begin = found + marker.size();
  const size_t end = std::min(name.find_first_not_of("0123456789", begin), name.size());
  if (end == begin || end - begin > 9) return std::nullopt;
  return LayeredName{name.substr(0, begin), name.substr(end), std::stoll(name.substr(begin, end - begin))};
}

/// Names with those of several layers drawn together.
std::vector<std::string> drawn_together(const std::vector<std::string>& names) {
  std::vector<std::string> result;
  std::map<std::pair<std::string, std::string>, std::vector<int64_t>> layers;
  for (const std::string& name : names) {
    const auto split = split_layer(name);
    if (split) layers[{split->before, split->after}].push_back(split->layer);
    if (!split) result.push_back(name);
  }
  for (auto& [around, numbers] : layers) {
    std::sort(numbers.begin(), numbers.end());
    const std::string text = ranges(numbers);
    result.push_back(around.first + (numbers.size() > 1 ? "{" + text + "}" : text) + around.second);
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::string report_line(std::string_view title, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  return fmt::format("  {} ({}): {}\n", title, names.size(), fmt::join(drawn_together(names), ", "));
}

}  // namespace

std::string to_text(const LoadReport& report) {
  return fmt::format("loaded {} tensors\n", report.loaded.size()) + report_line("missing", report.missing) +
         report_line("not used", report.surplus) + report_line("freshly initialised", report.fresh);
}

// ---- Writing

void write_model_folder(const std::filesystem::path& folder, std::string_view config_json,
                        std::vector<NamedTensor> tensors) {
  make_folder(folder);
  for (NamedTensor& named : tensors) {
    check(is_floating(named.tensor.dtype()),
          "write_model_folder: tensor {} is {}, expected a floating-point dtype", named.name,
          to_string(named.tensor.dtype()));
    named.tensor = named.tensor.to(DType::float32);
  }
  write_safetensors(folder / "model.safetensors", tensors);
  write_file_atomically(folder / "config.json", config_json);  // last: a folder with it is whole
}

void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to) {
  require_one_of(from, {"vocab.txt", "tokenizer.json"});
  make_folder(to);
  for (const char* name :
       {"vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    const auto source = first_present(from, {name});
    if (source) write_file_atomically(to / name, read_file(*source, ErrorKind::model));
  }
}

}  // namespace normtune
