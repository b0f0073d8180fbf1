#include "nn/peft_folder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "nn/adapter_config.h"
#include "nn/json_fields.h"
#include "nn/json_file.h"
#include "nn/printable.h"
#include "nn/tensor_file.h"

namespace normtune {
namespace {

using nlohmann::json;

constexpr std::string_view prefix = "base_model.model.";
constexpr std::string_view lora_A_end = ".lora_A.weight";
constexpr std::string_view lora_B_end = ".lora_B.weight";
constexpr std::string_view layer_norm_part = ".ln_tuning_layers.";
constexpr std::string_view base_layer_part = ".base_layer.";

bool ends_with_path(std::string_view path, std::string_view end) {
  return path == end ||
         (path.size() > end.size() && path.ends_with(end) && path[path.size() - end.size() - 1] == '.');
}

bool in_modules(std::string_view path, const std::vector<std::string>& modules) {
  return std::any_of(modules.begin(), modules.end(),
                     [&](const std::string& module) { return ends_with_path(path, module); });
}

/// True if the module or one that holds it is an entry: "pooler" saves "bert.pooler.dense" whole.
bool is_saved_whole(std::string_view path, const std::vector<std::string>& modules_to_save) {
  while (!in_modules(path, modules_to_save)) {
    const size_t dot = path.rfind('.');
    if (dot == std::string_view::npos) return false;
    path = path.substr(0, dot);
  }
  return true;
}

/// "a.old.b" -> "a.b" for the `part` ".old."; the name itself if it has no such part.
std::string without_part(std::string_view name, std::string_view part) {
  const size_t found = name.rfind(part);
  if (found == std::string_view::npos) return std::string(name);
  return std::string(name.substr(0, found)) + "." + std::string(name.substr(found + part.size()));
}

// ---- Reading

struct PeftFile {
  std::filesystem::path config_path;
  json document;
  std::filesystem::path tensor_path;
  std::vector<NamedTensor> tensors;  // without the prefix, sorted
};

std::vector<NamedTensor> read_tensors(const std::filesystem::path& path) {
  std::vector<NamedTensor> tensors = read_tensor_file(path);
  for (NamedTensor& named : tensors) {
    if (!named.name.starts_with(prefix)) {
      fail(ErrorKind::model, "{}: tensor {}: expected a name that begins with {}", path.string(),
           printable(named.name), prefix);
    }
    named.name.erase(0, prefix.size());
  }
  sort_by_name(tensors);
  return tensors;
}

PeftFile open_folder(const std::filesystem::path& folder, AdapterFolder kind, std::string_view type) {
  if (adapter_folder_kind(folder) != kind) {
    fail(ErrorKind::model, "{}: expected an adapter_config.json with \"peft_type\": \"{}\"", folder.string(),
         type);
  }
  PeftFile file;
  file.config_path = folder / "adapter_config.json";
  file.document = read_json_file(file.config_path, ErrorKind::model);
  file.tensor_path = require_one_of(folder, {"adapter_model.safetensors", "adapter_model.bin"});
  file.tensors = read_tensors(file.tensor_path);
  return file;
}

PeftTargets read_targets(const JsonFields& fields) {
  PeftTargets targets;
  if (!fields.value("target_modules").is_string()) {
    targets.modules = fields.texts("target_modules");
    std::sort(targets.modules.begin(), targets.modules.end());
    return targets;
  }
  targets.regex = fields.text("target_modules");
  try {
    const std::regex compiled(targets.regex);
  } catch (const std::regex_error&) {
    fields.refuse("target_modules", "{} is not a regular expression that we understand",
                  printable(targets.regex));
  }
  return targets;
}

/// The library lists "score" beside "classifier" for sequence classification; BERT has no such module.
std::vector<std::string> read_modules_to_save(const JsonFields& fields) {
  if (!fields.has("modules_to_save")) return {};
  std::vector<std::string> modules = fields.texts("modules_to_save");
  std::erase(modules, "score");
  return modules;
}

/// Refuses settings that change what the tensors mean. Each is inactive if null, false or empty.
void refuse_peft_variants(const JsonFields& fields) {
  for (const char* key :
       {"use_dora", "rank_pattern", "alpha_pattern", "layers_to_transform", "exclude_modules",
        "layer_replication", "megatron_config", "trainable_token_indices", "loftq_config", "use_qalora",
        "lora_bias", "target_parameters", "use_bdlora", "arrow_config", "kasa_config", "velora_config",
        "monteclora_config", "alora_invocation_tokens", "fan_in_fan_out"}) {
    if (!fields.has(key)) continue;
    const json& value = fields.value(key);
    const bool inactive = value == false || ((value.is_object() || value.is_array()) && value.empty());
    if (!inactive) fields.refuse(key, "this variant is not supported, found {}", printable(value.dump()));
  }
}

/// Some initialisations move part of the base weight into the adapter, so that the delta fits no plain base.
void refuse_changed_base(const JsonFields& fields) {
  if (!fields.has("init_lora_weights") || fields.value("init_lora_weights").is_boolean()) return;
  const std::string how = fields.text("init_lora_weights");
  if (how != "gaussian" && how != "eva" && how != "orthogonal") {
    fields.refuse("init_lora_weights", "{} changes the base weights and is not supported", printable(how));
  }
}

void require_floating(const PeftFile& file) {
  for (const NamedTensor& named : file.tensors) {
    if (!is_floating(named.tensor.dtype())) {
      fail(ErrorKind::model, "{}: tensor {}: expected a floating-point dtype, found {}",
           file.tensor_path.string(), printable(named.name), to_string(named.tensor.dtype()));
    }
  }
}

bool has_tensor(const std::vector<NamedTensor>& tensors, const std::string& name) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const NamedTensor& named) { return named.name == name; });
}

/// A layer that was trained whole, alone or as part of a module, has weight and bias in the file.
void require_saved_modules(const PeftFile& file, const std::vector<std::string>& modules) {
  for (const std::string& module : modules) {
    std::set<std::string> layers;
    for (const NamedTensor& named : file.tensors) {
      const std::string_view layer = module_path(named.name);
      if (is_saved_whole(layer, {module})) layers.emplace(layer);
    }
    if (layers.empty()) layers.insert(module);
    for (const std::string& layer : layers) {
      for (const char* end : {".weight", ".bias"}) {
        if (has_tensor(file.tensors, layer + end)) continue;
        fail(ErrorKind::model, "{}: tensor {} is missing, modules_to_save lists {}",
             file.tensor_path.string(), printable(std::string(prefix) + layer + end), printable(module));
      }
    }
  }
}

/// With the bias "all" the library stores the biases of a module that it saves whole three times over: under
/// the plain name, and those of its two copies, the trained ("modules_to_save") and the original one.
bool is_copy_of_saved_module(std::string_view name, const std::vector<std::string>& modules_to_save) {
  for (const std::string_view copy : {".modules_to_save.", ".original_module."}) {
    const size_t found = name.find(copy);
    if (found != std::string_view::npos && is_saved_whole(name.substr(0, found), modules_to_save))
      return true;
  }
  return false;
}

void drop_copies_of_saved_modules(PeftFile& file, const std::vector<std::string>& modules_to_save) {
  std::erase_if(file.tensors, [&](const NamedTensor& named) {
    return is_copy_of_saved_module(named.name, modules_to_save);
  });
}

[[noreturn]] void surplus(const PeftFile& file, const NamedTensor& named) {
  fail(ErrorKind::model, "{}: tensor {} belongs to no module that adapter_config.json names",
       file.tensor_path.string(), printable(named.name));
}

void check_lora_pair(const PeftFile& file, const std::string& module, const NamedTensor* lora_A,
                     const NamedTensor* lora_B, int64_t r) {
  for (const auto& [found, end] : {std::pair(lora_A, lora_A_end), std::pair(lora_B, lora_B_end)}) {
    if (found) continue;
    fail(ErrorKind::model, "{}: tensor {} is missing", file.tensor_path.string(),
         printable(std::string(prefix) + module + std::string(end)));
  }
  for (const auto& [named, dim] : {std::pair(lora_A, 0), std::pair(lora_B, 1)}) {
    const Shape& shape = named->tensor.shape();
    if (shape.rank() == 2 && shape[dim] == r) continue;
    fail(ErrorKind::model, "{}: tensor {}: expected {}, found shape {} (r is {} in adapter_config.json)",
         file.tensor_path.string(), printable(named->name), dim == 0 ? "[r, in]" : "[out, r]", shape, r);
  }
}

/// Every tensor is half of a pair, a bias that `delta.bias` allows, or part of a module that was saved whole.
void check_lora_tensors(const PeftFile& file, const LoraDelta& delta) {
  std::map<std::string, std::pair<const NamedTensor*, const NamedTensor*>> pairs;  // by module path
  for (const NamedTensor& named : delta.tensors) {
    const std::string_view name = named.name;
    if (name.ends_with(lora_A_end)) {
      pairs[std::string(name.substr(0, name.size() - lora_A_end.size()))].first = &named;
    } else if (name.ends_with(lora_B_end)) {
      pairs[std::string(name.substr(0, name.size() - lora_B_end.size()))].second = &named;
    } else if (!is_saved_whole(module_path(name), delta.modules_to_save) &&
               (delta.bias == "none" || !name.ends_with(".bias"))) {
      surplus(file, named);
    }
  }
  if (pairs.empty()) fail(ErrorKind::model, "{}: holds no lora_A and lora_B", file.tensor_path.string());
  for (const auto& [module, pair] : pairs) check_lora_pair(file, module, pair.first, pair.second, delta.r);
  for (const std::string& target : delta.targets.modules) {
    const bool found = std::any_of(pairs.begin(), pairs.end(),
                                   [&](const auto& pair) { return ends_with_path(pair.first, target); });
    if (!found) {
      fail(ErrorKind::model, "{}: no tensors for target module {}", file.tensor_path.string(),
           printable(target));
    }
  }
}

}  // namespace

bool PeftTargets::match(std::string_view module_path) const {
  if (regex.empty()) return in_modules(module_path, modules);
  return std::regex_match(module_path.begin(), module_path.end(), std::regex(regex));
}

double LoraDelta::scaling() const {
  const auto rank = static_cast<double>(r);
  return lora_alpha / (use_rslora ? std::sqrt(rank) : rank);
}

LoraDelta read_lora_folder(const std::filesystem::path& folder) {
  PeftFile file = open_folder(folder, AdapterFolder::peft_lora, "LORA");
  const JsonFields fields(file.document, file.config_path.string(), ErrorKind::model);
  refuse_peft_variants(fields);
  refuse_changed_base(fields);

  LoraDelta delta;
  delta.r = fields.integer_or("r", 8, 1, 1'000'000);
  delta.lora_alpha = fields.number_or("lora_alpha", 8, -1e9, 1e9);
  delta.lora_dropout = fields.number_or("lora_dropout", 0, 0, 1);
  delta.use_rslora = fields.flag_or("use_rslora", false);
  delta.bias = fields.text_or("bias", "none");
  if (delta.bias != "none" && delta.bias != "all" && delta.bias != "lora_only") {
    fields.refuse("bias", "expected none, all or lora_only, found {}", printable(delta.bias));
  }
  if (fields.has("target_modules")) delta.targets = read_targets(fields);
  delta.modules_to_save = read_modules_to_save(fields);
  delta.base_model_name_or_path = fields.text_or("base_model_name_or_path", "");

  require_floating(file);
  drop_copies_of_saved_modules(file, delta.modules_to_save);
  require_saved_modules(file, delta.modules_to_save);
  for (const NamedTensor& named : file.tensors) {
    delta.tensors.push_back({without_part(named.name, base_layer_part), named.tensor});
  }
  sort_by_name(delta.tensors);
  check_lora_tensors(file, delta);
  return delta;
}

LnTuningDelta read_ln_tuning_folder(const std::filesystem::path& folder) {
  PeftFile file = open_folder(folder, AdapterFolder::peft_ln_tuning, "LN_TUNING");
  const JsonFields fields(file.document, file.config_path.string(), ErrorKind::model);
  refuse_peft_variants(fields);

  LnTuningDelta delta;
  delta.targets = read_targets(fields);
  delta.modules_to_save = read_modules_to_save(fields);
  delta.base_model_name_or_path = fields.text_or("base_model_name_or_path", "");

  require_floating(file);
  require_saved_modules(file, delta.modules_to_save);
  std::set<std::string> layer_norms;
  for (const NamedTensor& named : file.tensors) {
    const bool is_layer_norm = named.name.find(layer_norm_part) != std::string::npos;
    if (!is_layer_norm && !is_saved_whole(module_path(named.name), delta.modules_to_save))
      surplus(file, named);
    delta.tensors.push_back({without_part(named.name, layer_norm_part), named.tensor});
    if (is_layer_norm) layer_norms.emplace(module_path(delta.tensors.back().name));
  }
  if (layer_norms.empty()) fail(ErrorKind::model, "{}: holds no ln_tuning_layers", file.tensor_path.string());
  sort_by_name(delta.tensors);
  for (const std::string& module : layer_norms) {
    for (const char* end : {".weight", ".bias"}) {
      if (has_tensor(delta.tensors, module + end)) continue;
      fail(ErrorKind::model, "{}: {} of LayerNorm {} is missing", file.tensor_path.string(), end + 1,
           printable(module));
    }
  }
  return delta;
}

// ---- Writing

namespace {

/// The keys that every version of the library knows; older ones fail on keys that are new to them.
json common_config(std::string_view peft_type, const PeftTargets& targets,
                   const std::vector<std::string>& modules_to_save, const std::string& base) {
  return {{"auto_mapping", nullptr},
          {"base_model_name_or_path", base},
          {"inference_mode", true},
          {"modules_to_save", modules_to_save},
          {"peft_type", peft_type},
          {"revision", nullptr},
          {"target_modules", targets.regex.empty() ? json(targets.modules) : json(targets.regex)},
          {"task_type", "SEQ_CLS"}};
}

/// A whole number as an integer, as the library writes it.
json plain_number(double number) {
  if (number == std::floor(number) && std::abs(number) < 1e15) return static_cast<int64_t>(number);
  return number;
}

json lora_config(const LoraDelta& delta) {
  json config = common_config("LORA", delta.targets, delta.modules_to_save, delta.base_model_name_or_path);
  config["r"] = delta.r;
  config["lora_alpha"] = plain_number(delta.lora_alpha);
  config["lora_dropout"] = delta.lora_dropout;
  config["bias"] = delta.bias;
  config["fan_in_fan_out"] = false;
  config["init_lora_weights"] = true;
  config["layers_to_transform"] = nullptr;
  config["layers_pattern"] = nullptr;
  config["rank_pattern"] = json::object();
  config["alpha_pattern"] = json::object();
  config["use_rslora"] = delta.use_rslora;
  return config;
}

/// Tensors first: a folder with adapter_config.json is whole.
void write_folder(const std::filesystem::path& folder, const json& config, std::vector<NamedTensor> tensors) {
  make_folder(folder);
  for (NamedTensor& named : tensors) {
    named.name.insert(0, prefix);
    named.tensor = named.tensor.to(DType::float32);
  }
  write_safetensors(folder / "adapter_model.safetensors", tensors);
  write_json_file(folder / "adapter_config.json", config);
}

}  // namespace

void write_lora_folder(const std::filesystem::path& folder, const LoraDelta& delta) {
  std::vector<NamedTensor> tensors = delta.tensors;
  for (NamedTensor& named : tensors) {  // the bias of a wrapped layer lies inside the wrapper
    const std::string module(module_path(named.name));
    if (named.name.ends_with(".bias") && has_tensor(delta.tensors, module + std::string(lora_A_end))) {
      named.name = module + std::string(base_layer_part) + "bias";
    }
  }
  write_folder(folder, lora_config(delta), std::move(tensors));
}

void write_ln_tuning_folder(const std::filesystem::path& folder, const LnTuningDelta& delta) {
  std::vector<NamedTensor> tensors = delta.tensors;
  for (NamedTensor& named : tensors) {
    const std::string module(module_path(named.name));
    if (is_saved_whole(module, delta.modules_to_save)) continue;
    check(delta.targets.match(module), "write_ln_tuning_folder: {} is neither targeted nor saved whole",
          named.name);
    named.name = module + std::string(layer_norm_part) + named.name.substr(module.size() + 1);
  }
  write_folder(
      folder, common_config("LN_TUNING", delta.targets, delta.modules_to_save, delta.base_model_name_or_path),
      std::move(tensors));
}

}  // namespace normtune
