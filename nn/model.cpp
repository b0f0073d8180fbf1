#include "nn/model.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "nn/adapter.h"
#include "nn/adapter_config.h"
#include "nn/delta_model.h"
#include "nn/initialization.h"
#include "nn/json_file.h"
#include "nn/lora.h"
#include "nn/peft_folder.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

constexpr const char* adapter_folder = "adapterhub";
/// Word embeddings are often padded with unused rows, to a multiple of 128 at most.
constexpr int64_t padding_multiple = 128;
const std::vector<std::string> classifier_names = {"classifier.weight", "classifier.bias"};
const std::vector<std::string> all_heads = {"classifier.", "cls.", "qa_outputs."};
const std::vector<std::string> pooler_names = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// transformers calls classes LABEL_0, LABEL_1, ... where nobody has named them.
bool has_real_label_names(const BertConfig& config) {
  return std::none_of(config.id2label.begin(), config.id2label.end(),
                      [](const std::string& label) { return label.starts_with("LABEL_"); });
}

void set_labels(BertConfig& config, const LoadOptions& options) {
  if (options.label_names.empty()) return;
  if (config.id2label.size() != options.label_names.size() || !has_real_label_names(config)) {
    config.id2label = options.label_names;
  }
  config.problem_type = options.regression ? "regression" : "single_label_classification";
}

bool classifier_fits(const StateDict& state, const BertConfig& config) {
  const Tensor* weight = state.find("classifier.weight");
  return weight != nullptr && state.find("classifier.bias") != nullptr && weight->shape().rank() == 2 &&
         weight->size(0) == config.num_labels();
}

void check_pooler(const StateDict& state, const LoadOptions& options) {
  if (options.fresh_pooler || state.find(pooler_names[0]) != nullptr) return;
  fail(ErrorKind::model,
       "{}: expected the pooler's tensor '{}', found none; --fresh_pooler draws a new pooler and trains it",
       state.source.string(), pooler_names[0]);
}

void check_vocabulary(Model& model) {
  const int64_t num_tokens = model.tokenizer.vocab_size(), num_rows = model.bert.config().vocab_size;
  if (num_tokens > num_rows) {
    fail(ErrorKind::model,
         "{}: the vocabulary has {} tokens, but config.json says vocab_size {}; expected at most that many",
         model.folder.string(), num_tokens, num_rows);
  }
  if (num_rows - num_tokens >= padding_multiple) {
    model.warnings.push_back(fmt::format(
        "{}: the vocabulary has {} tokens, but config.json says vocab_size {}: is it the right one?",
        model.folder.string(), num_tokens, num_rows));
  }
}

void load_tensor(const Parameter& parameter, const Tensor& source, const fs::path& file) {
  Tensor target = parameter.variable.tensor();
  if (target.shape() != source.shape()) {
    fail(ErrorKind::model, "{}: tensor '{}': expected shape [{}] from config.json, found [{}]", file.string(),
         parameter.name, fmt::join(target.shape(), ", "), fmt::join(source.shape(), ", "));
  }
  if (!is_floating(source.dtype())) {
    fail(ErrorKind::model, "{}: tensor '{}': expected floating-point values, found {}", file.string(),
         parameter.name, to_string(source.dtype()));
  }
  target.copy_from(source.to(target.dtype()).to(target.device()));
}

/// Draws every parameter.
LoadReport draw_parameters(Bert& model, uint64_t init_seed) {
  LoadReport report;
  for (const Parameter& parameter : model.parameters()) {
    initialize_parameter(parameter, model.config(), init_seed);
    report.fresh.push_back(parameter.name);
  }
  return report;
}

/// The pre-training heads of which a file holds nothing: they are drawn. One that is there in part is an
/// error.
std::vector<std::string> missing_heads(const StateDict& state, const Bert& model) {
  std::vector<std::string> names;
  for (const std::string head : {"cls.predictions.", "cls.seq_relationship."}) {
    const bool found = std::any_of(state.tensors.begin(), state.tensors.end(),
                                   [&](const NamedTensor& tensor) { return tensor.name.starts_with(head); });
    for (const Parameter& parameter : model.parameters()) {
      if (!found && parameter.name.starts_with(head)) names.push_back(parameter.name);
    }
  }
  return names;
}

/// Fills the network from the weights in `folder`, which `model` gets to know.
void load_weights(Model& model, const fs::path& folder, const LoadOptions& options) {
  const StateDict state = read_state_dict(folder);
  model.weights_file = state.source;
  check_pooler(state, options);
  std::vector<std::string> replaced, optional_names;
  if (options.fresh_pooler) replaced = pooler_names;
  if (options.head == BertHead::classification) {
    if (!classifier_fits(state, model.bert.config())) {
      replaced.insert(replaced.end(), classifier_names.begin(), classifier_names.end());
      model.fresh_classifier = true;
    }
  } else {
    optional_names = missing_heads(state, model.bert);
  }
  model.report = load_parameters(model.bert, state, replaced, optional_names, options.init_seed);
}

/// A plain folder, or one with adapters in adapterhub/.
Model load_plain_model(const fs::path& folder, const LoadOptions& options) {
  BertConfig config = read_bert_config(folder);
  if (options.head == BertHead::classification) set_labels(config, options);
  Model model{.folder = folder,
              .base_folder = folder,
              .weights_file = {},
              .bert = Bert(config, options.head, options.dtype, options.device),
              .tokenizer = Tokenizer::from_folder(folder),
              .report = {},
              .adapter = {},
              .warnings = {}};
  model.warnings = model.tokenizer.warnings();
  check_vocabulary(model);
  if (options.random_init) {
    model.report = draw_parameters(model.bert, options.init_seed);
    model.fresh_classifier = true;
    return model;
  }
  load_weights(model, folder, options);
  if (options.head == BertHead::classification && fs::exists(folder / adapter_folder)) {
    model.adapter = read_adapterhub_folder(folder / adapter_folder);
    AdapterHubDelta delta = *model.adapter;
    if (model.fresh_classifier) delta.head.clear();
    load_adapters(model.bert, delta);
  }
  return model;
}

/// The folder of the base model that a delta names: as it is, or beside the delta.
fs::path find_base(const std::string& base, const fs::path& folder) {
  for (const fs::path& candidate : {fs::path(base), folder / base, folder.parent_path() / base}) {
    if (!base.empty() && fs::exists(candidate / "config.json")) return candidate;
  }
  fail(ErrorKind::model,
       "{}: names the base model '{}', which is not a model folder here; expected a folder with config.json",
       (folder / "adapter_config.json").string(), base);
}

/// Replaces parameters by the tensors of a delta (LayerNorms, head, pooler) that are plain model tensors.
void overwrite_parameters(Model& model, const std::vector<NamedTensor>& tensors, const fs::path& file) {
  for (const NamedTensor& source : tensors) {
    const Parameter* parameter = model.bert.parameters().find(source.name);
    if (parameter == nullptr) {
      fail(ErrorKind::model, "{}: the model has no place for tensor '{}'", file.string(), source.name);
    }
    load_tensor(*parameter, source.tensor, file);
  }
}

/// A pooler in a delta replaces that of the base, which may have none.
LoadOptions with_pooler_of(const std::vector<NamedTensor>& tensors, LoadOptions options) {
  options.fresh_pooler |= std::any_of(tensors.begin(), tensors.end(), [](const NamedTensor& tensor) {
    return tensor.name == pooler_names[0];
  });
  return options;
}

/// The number of classes of a delta is that of its classifier.
LoadOptions with_labels_of(const std::vector<NamedTensor>& tensors, LoadOptions options) {
  for (const NamedTensor& tensor : tensors) {
    const auto num_labels = tensor.name == "classifier.bias" ? static_cast<size_t>(tensor.tensor.numel()) : 0;
    if (num_labels == 0 || num_labels == options.label_names.size()) continue;
    options.regression = num_labels == 1;
    options.label_names.clear();
    for (size_t i = 0; i < num_labels; ++i) options.label_names.push_back(fmt::format("LABEL_{}", i));
  }
  return options;
}

/// Loads the base of a PEFT or AdapterHub folder and puts the delta on it. An empty `given_base` means the
/// base that the folder names.
Model load_delta_model(const fs::path& folder, const fs::path& given_base, const LoadOptions& options) {
  const fs::path file = folder / "adapter_config.json";
  const auto load_base = [&](const std::string& named_base, const std::vector<NamedTensor>& head) {
    const fs::path base = given_base.empty() ? find_base(named_base, folder) : given_base;
    Model model = load_plain_model(base, with_pooler_of(head, with_labels_of(head, options)));
    model.folder = folder;
    std::erase_if(model.report.fresh, [&](const std::string& name) {
      return std::any_of(head.begin(), head.end(),
                         [&](const NamedTensor& tensor) { return tensor.name == name; });
    });
    model.fresh_classifier = contains(model.report.fresh, classifier_names[0]);
    return model;
  };
  switch (*adapter_folder_kind(folder)) {
    case AdapterFolder::peft_lora: {
      const LoraDelta delta = read_lora_folder(folder);
      Model model = load_base(delta.base_model_name_or_path, delta.tensors);
      attach_lora(model.bert, delta, options.init_seed);
      overwrite_parameters(model, delta.tensors, file);
      merge_lora(model.bert);
      return model;
    }
    case AdapterFolder::peft_ln_tuning: {
      const LnTuningDelta delta = read_ln_tuning_folder(folder);
      Model model = load_base(delta.base_model_name_or_path, delta.tensors);
      overwrite_parameters(model, delta.tensors, file);
      return model;
    }
    case AdapterFolder::adapterhub: {
      const AdapterHubDelta delta = read_adapterhub_folder(folder);
      Model model = load_base(delta.model_name, delta.head);
      load_adapters(model.bert, delta);
      model.adapter = delta;
      return model;
    }
  }
  fail(ErrorKind::internal, "unknown kind of delta folder");
}

}  // namespace

Model load_model(const fs::path& folder, const LoadOptions& options) {
  const bool is_delta = !fs::exists(folder / "config.json") && adapter_folder_kind(folder).has_value();
  return is_delta ? load_delta_model(folder, {}, options) : load_plain_model(folder, options);
}

Model load_delta_over(const fs::path& base, const fs::path& delta, const LoadOptions& options) {
  check(adapter_folder_kind(delta).has_value(), "load_delta_over: {} is no delta folder", delta.string());
  return load_delta_model(delta, base, options);
}

fs::path base_model_folder(const fs::path& folder) {
  if (fs::exists(folder / "config.json")) return folder;
  const std::optional<AdapterFolder> kind = adapter_folder_kind(folder);
  if (!kind) return folder;
  const nlohmann::json config = read_json_file(folder / "adapter_config.json", ErrorKind::model);
  const char* key = *kind == AdapterFolder::adapterhub ? "model_name" : "base_model_name_or_path";
  const bool named = config.contains(key) && config[key].is_string();
  return find_base(named ? config[key].get<std::string>() : "", folder);
}

void require_no_surplus(const Bert& model, const StateDict& state) {
  const std::string own_head = model.head() == BertHead::classification ? "classifier." : "cls.";
  const auto is_known = [&](const NamedTensor& tensor) {
    if (model.parameters().find(tensor.name) != nullptr) return true;
    return !tensor.name.starts_with(own_head) &&
           std::any_of(all_heads.begin(), all_heads.end(),
                       [&](const std::string& head) { return tensor.name.starts_with(head); });
  };
  const auto surplus = std::find_if_not(state.tensors.begin(), state.tensors.end(), is_known);
  if (surplus == state.tensors.end()) return;
  const auto count = std::count_if(surplus, state.tensors.end(), std::not_fn(is_known));
  fail(
      ErrorKind::model,
      "{}: tensor '{}' is surplus ({} in all); expected only tensors of the model that config.json describes "
      "(num_hidden_layers {})",
      state.source.string(), surplus->name, count, model.config().num_hidden_layers);
}

LoadReport load_parameters(Bert& model, const StateDict& state, const std::vector<std::string>& replaced,
                           const std::vector<std::string>& optional_names, uint64_t init_seed) {
  LoadReport report;
  for (const Parameter& parameter : model.parameters()) {
    const Tensor* source = contains(replaced, parameter.name) ? nullptr : state.find(parameter.name);
    if (source != nullptr) {
      load_tensor(parameter, *source, state.source);
      report.loaded.push_back(parameter.name);
    } else if (contains(replaced, parameter.name) || contains(optional_names, parameter.name)) {
      initialize_parameter(parameter, model.config(), init_seed);
      report.fresh.push_back(parameter.name);
    } else {
      report.missing.push_back(parameter.name);
    }
  }
  for (const NamedTensor& tensor : state.tensors) {
    const bool used = model.parameters().find(tensor.name) != nullptr && !contains(replaced, tensor.name);
    if (!used) report.surplus.push_back(tensor.name);
  }
  if (!report.missing.empty()) {
    fail(ErrorKind::model,
         "{}: tensor '{}' is missing ({} missing in all, {} found); expected every tensor of the model",
         state.source.string(), report.missing.front(), report.missing.size(), report.loaded.size());
  }
  require_no_surplus(model, state);
  return report;
}

std::vector<NamedTensor> plain_tensors(Bert& model) {
  std::vector<NamedTensor> tensors;
  const std::vector<LinearModule> modules = model.linear_modules();
  for (const Parameter& parameter : model.parameters()) {
    if (is_adapter(parameter) || parameter.component.ends_with(".lora_A") ||
        parameter.component.ends_with(".lora_B")) {
      continue;
    }
    Tensor tensor = parameter.variable.tensor();
    for (const LinearModule& module : modules) {
      if (parameter.name == module.path + ".weight") tensor = merged_weight(*module.linear);
    }
    tensors.push_back({parameter.name, std::move(tensor)});
  }
  return tensors;
}

void save_model(Model& model, const fs::path& folder) {
  const bool classifies = model.bert.head() == BertHead::classification;
  const std::string config_json = bert_config_json(
      model.bert.config(), classifies ? "BertForSequenceClassification" : "BertForPreTraining");
  write_model_folder(folder, config_json, plain_tensors(model.bert));
  copy_tokenizer_files(model.base_folder, folder);
  if (model.adapter)
    write_adapterhub_folder(folder / adapter_folder, extract_adapters(model.bert, *model.adapter));
}

}  // namespace normtune
