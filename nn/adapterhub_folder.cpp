#include "nn/adapterhub_folder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "nn/adapter_config.h"
#include "nn/json_fields.h"
#include "nn/json_file.h"
#include "nn/printable.h"
#include "nn/tensor_file.h"

namespace normtune {
namespace {

using nlohmann::json;

constexpr const char* library_version = "adapters.1.0.0";

/// The library's rule: floor(hidden_size / reduction_factor), at least 1.
int64_t bottleneck_size(int64_t hidden_size, double reduction_factor) {
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::floor(static_cast<double>(hidden_size) / reduction_factor)));
}

/// A reduction factor that gives this bottleneck: whole if there is one, else safely between two sizes.
json reduction_factor(int64_t hidden_size, int64_t bottleneck_size) {
  if (hidden_size % bottleneck_size == 0) return hidden_size / bottleneck_size;
  return static_cast<double>(hidden_size) / (static_cast<double>(bottleneck_size) + 0.5);
}

// ---- Reading

void refuse_unless(const JsonFields& fields, const char* key, bool expected, bool otherwise) {
  if (!fields.has(key)) {
    if (expected != otherwise)
      fields.refuse(key, "expected {}, found nothing (which means {})", expected, otherwise);
    return;
  }
  if (fields.value(key) != expected) {
    fields.refuse(key, "expected {}, found {}", expected, printable(fields.value(key).dump()));
  }
}

/// Settings outside the two forms that AdapterHubDelta describes; the last value is the library's default.
void refuse_adapterhub_variants(const JsonFields& fields) {
  if (fields.has("architecture")) {
    fields.refuse("architecture", "expected a bottleneck adapter, found {}",
                  printable(fields.value("architecture").dump()));
  }
  refuse_unless(fields, "original_ln_after", true, true);
  refuse_unless(fields, "residual_before_ln", true, true);
  for (const char* key : {"adapter_residual_before_ln", "ln_before", "ln_after", "is_parallel", "use_gating",
                          "phm_layer", "cross_adapter"}) {
    refuse_unless(fields, key, false, false);
  }
  if (fields.has("inv_adapter")) fields.refuse("inv_adapter", "invertible adapters are not supported");
  if (fields.has("leave_out") && !fields.value("leave_out").empty()) {
    fields.refuse("leave_out", "adapters in some layers only are not supported");
  }
  if (fields.number_or("stochastic_depth", 0, 0, 1) != 0) {
    fields.refuse("stochastic_depth", "expected 0, found {}", fields.number("stochastic_depth", 0, 1));
  }
}

void read_settings(const JsonFields& fields, AdapterHubDelta& delta) {
  refuse_adapterhub_variants(fields);
  delta.mh_adapter = fields.flag("mh_adapter");
  delta.output_adapter = fields.flag("output_adapter");
  if (!delta.mh_adapter && !delta.output_adapter) {
    fields.refuse("output_adapter", "expected true here or for mh_adapter, found false for both");
  }
  delta.bottleneck_size = bottleneck_size(delta.hidden_size, fields.number("reduction_factor", 1e-6, 1e9));
  delta.non_linearity = fields.text("non_linearity");
  if (delta.non_linearity == "silu") delta.non_linearity = "swish";  // two names of one function
  if (delta.non_linearity != "relu" && delta.non_linearity != "gelu" && delta.non_linearity != "swish") {
    fields.refuse("non_linearity", "expected relu, gelu or swish, found {}", printable(delta.non_linearity));
  }
  delta.original_ln_before = fields.flag_or("original_ln_before", false);
  delta.scaling = fields.number_or("scaling", 1, -1e9, 1e9);
  delta.dropout = fields.number_or("dropout", 0, 0, 1);
  delta.init_weights = fields.text_or("init_weights", "bert");
}

struct AdapterPart {
  std::string_view end;
  Shape shape;
};

std::vector<AdapterPart> parts_of(const AdapterHubDelta& delta) {
  const int64_t H = delta.hidden_size, m = delta.bottleneck_size;
  return {{"adapter_down.0.weight", {m, H}},
          {"adapter_down.0.bias", {m}},
          {"adapter_up.weight", {H, m}},
          {"adapter_up.bias", {H}}};
}

/// The number of a block in "bert.encoder.layer.N." at the start of a name; nothing for another name.
std::optional<int64_t> layer_of(std::string_view name) {
  constexpr std::string_view start = "bert.encoder.layer.";
  if (!name.starts_with(start)) return std::nullopt;
  name.remove_prefix(start.size());
  const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  if (digits == 0 || digits > 5) return std::nullopt;
  return std::stoll(std::string(name.substr(0, digits)));
}

/// Blocks 0 to the last one named must have every part of their adapters, and nothing else may be there.
void check_adapter_tensors(const AdapterHubDelta& delta, const std::string& where) {
  std::map<std::string_view, const NamedTensor*> by_name;
  int64_t num_layers = 0;
  for (const NamedTensor& named : delta.tensors) {
    by_name[named.name] = &named;
    num_layers = std::max(num_layers, layer_of(named.name).value_or(-1) + 1);
  }
  if (num_layers == 0) fail(ErrorKind::model, "{}: holds no adapter {}", where, printable(delta.name));
  std::vector<std::string> places;
  if (delta.mh_adapter) places.emplace_back("attention.output");
  if (delta.output_adapter) places.emplace_back("output");
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    for (const std::string& place : places) {
      for (const auto& [end, shape] : parts_of(delta)) {
        const std::string name =
            fmt::format("bert.encoder.layer.{}.{}.adapters.{}.{}", layer, place, delta.name, end);
        const auto found = by_name.find(name);
        if (found == by_name.end())
          fail(ErrorKind::model, "{}: tensor {} is missing", where, printable(name));
        require_shape(*found->second, shape, where);
        by_name.erase(found);
      }
    }
  }
  if (!by_name.empty()) {
    fail(ErrorKind::model, "{}: tensor {} belongs to no adapter that adapter_config.json describes", where,
         printable(by_name.begin()->first));
  }
}

void check_head_tensors(const AdapterHubDelta& delta, const std::string& where) {
  const auto names_fit = delta.head.size() == 2 && delta.head[0].name == "classifier.bias" &&
                         delta.head[1].name == "classifier.weight";
  if (!names_fit) {
    fail(ErrorKind::model, "{}: expected the tensors classifier.weight and classifier.bias, found {}", where,
         delta.head.empty() ? "none" : printable(delta.head[0].name));
  }
  const Shape& bias = delta.head[0].tensor.shape();
  const auto num_labels = static_cast<int64_t>(delta.labels.size());
  const int64_t C = num_labels > 0 ? num_labels : bias.rank() == 1 ? bias[0] : 0;
  require_shape(delta.head[0], {C}, where);
  require_shape(delta.head[1], {C, delta.hidden_size}, where);
}

/// The names of label2id in the order of their ids, which must be 0, 1, ...
std::vector<std::string> read_label2id(const JsonFields& fields) {
  if (!fields.has("label2id")) return {};
  const json& ids = fields.value("label2id");
  if (!ids.is_object()) fields.refuse("label2id", "expected an object, found {}", ids.type_name());
  std::map<int64_t, std::string> by_id;
  for (const auto& [label, id] : ids.items()) {
    if (!id.is_number_integer()) fields.refuse("label2id", "{} has no integer", printable(label));
    by_id[id.get<int64_t>()] = label;
  }
  std::vector<std::string> labels;
  for (const auto& [id, label] : by_id) labels.push_back(label);
  const auto count = static_cast<int64_t>(labels.size());
  if (labels.size() != ids.size() ||
      (count > 0 && (by_id.begin()->first != 0 || by_id.rbegin()->first != count - 1))) {
    fields.refuse("label2id", "expected the ids 0 to {}, each once", static_cast<int64_t>(ids.size()) - 1);
  }
  return labels;
}

void read_head(const std::filesystem::path& folder, AdapterHubDelta& delta) {
  const auto config_path = first_present(folder, {"head_config.json"});
  const auto tensor_path = first_present(folder, {"model_head.safetensors", "pytorch_model_head.bin"});
  if (!tensor_path) {
    if (config_path) {
      fail(ErrorKind::model,
           "{}: there is neither model_head.safetensors nor pytorch_model_head.bin beside it",
           config_path->string());
    }
    return;
  }
  if (config_path) {
    const json document = read_json_file(*config_path, ErrorKind::model);
    const JsonFields fields(document, config_path->string(), ErrorKind::model);
    if (fields.has("config")) fields.refuse("config", "flexible heads are not supported, expected null");
    delta.labels = read_label2id(fields);
  }
  delta.head = read_tensor_file(*tensor_path);
  sort_by_name(delta.head);
  check_head_tensors(delta, tensor_path->string());
}

}  // namespace

AdapterHubDelta read_adapterhub_folder(const std::filesystem::path& folder) {
  if (adapter_folder_kind(folder) != AdapterFolder::adapterhub) {
    fail(ErrorKind::model, "{}: expected an adapter_config.json of AdapterHub", folder.string());
  }
  const std::filesystem::path path = folder / "adapter_config.json";
  const json document = read_json_file(path, ErrorKind::model);
  const JsonFields fields(document, path.string(), ErrorKind::model);
  if (const std::string type = fields.text_or("model_type", "bert"); type != "bert") {
    fields.refuse("model_type", "expected bert, found {}", printable(type));
  }

  AdapterHubDelta delta;
  delta.name = fields.text("name");
  delta.hidden_size = fields.integer("hidden_size", 1, 1'000'000'000);
  delta.model_name = fields.text_or("model_name", "");
  delta.model_class = fields.text_or("model_class", delta.model_class);
  read_settings(fields.members("config"), delta);

  const auto tensor_path = require_one_of(folder, {"adapter.safetensors", "pytorch_adapter.bin"});
  delta.tensors = read_tensor_file(tensor_path);
  sort_by_name(delta.tensors);
  check_adapter_tensors(delta, tensor_path.string());
  read_head(folder, delta);
  return delta;
}

// ---- Writing

namespace {

json settings_of(const AdapterHubDelta& delta) {
  return {{"mh_adapter", delta.mh_adapter},
          {"output_adapter", delta.output_adapter},
          {"reduction_factor", reduction_factor(delta.hidden_size, delta.bottleneck_size)},
          {"non_linearity", delta.non_linearity},
          {"original_ln_before", delta.original_ln_before},
          {"original_ln_after", true},
          {"residual_before_ln", true},
          {"adapter_residual_before_ln", false},
          {"ln_before", false},
          {"ln_after", false},
          {"is_parallel", false},
          {"use_gating", false},
          {"scaling", delta.scaling},
          {"dropout", delta.dropout},
          {"init_weights", delta.init_weights},
          {"inv_adapter", nullptr},
          {"inv_adapter_reduction_factor", nullptr},
          {"cross_adapter", false},
          {"leave_out", json::array()},
          {"phm_layer", false}};
}

json model_fields(const AdapterHubDelta& delta) {
  return {{"hidden_size", delta.hidden_size},
          {"model_class", delta.model_class},
          {"model_name", delta.model_name},
          {"model_type", "bert"},
          {"version", library_version}};
}

json adapter_config(const AdapterHubDelta& delta) {
  json document = model_fields(delta);
  document["config"] = settings_of(delta);
  document["name"] = delta.name;
  return document;
}

json head_config(const AdapterHubDelta& delta, int64_t num_labels) {
  json ids = json::object();
  for (int64_t i = 0; i < num_labels; ++i) {
    ids[delta.labels.empty() ? fmt::format("LABEL_{}", i) : delta.labels[static_cast<size_t>(i)]] = i;
  }
  json document = model_fields(delta);
  document["config"] = nullptr;
  document["label2id"] = ids;
  document["name"] = nullptr;
  document["num_labels"] = num_labels;
  return document;
}

std::vector<NamedTensor> in_float32(std::vector<NamedTensor> tensors) {
  for (NamedTensor& named : tensors) named.tensor = named.tensor.to(DType::float32);
  return tensors;
}

}  // namespace

void write_adapterhub_folder(const std::filesystem::path& folder, const AdapterHubDelta& delta) {
  make_folder(folder);
  if (!delta.head.empty()) {
    const auto bias = std::find_if(delta.head.begin(), delta.head.end(),
                                   [](const NamedTensor& named) { return named.name == "classifier.bias"; });
    check(bias != delta.head.end(), "write_adapterhub_folder: the head has no classifier.bias");
    const int64_t num_labels = bias->tensor.numel();
    check(delta.labels.empty() || static_cast<int64_t>(delta.labels.size()) == num_labels,
          "write_adapterhub_folder: {} label names for {} labels", delta.labels.size(), num_labels);
    write_safetensors(folder / "model_head.safetensors", in_float32(delta.head));
    write_json_file(folder / "head_config.json", head_config(delta, num_labels));
  }
  write_safetensors(folder / "adapter.safetensors", in_float32(delta.tensors));
  write_json_file(folder / "adapter_config.json", adapter_config(delta));  // last: a folder with it is whole
}

}  // namespace normtune
