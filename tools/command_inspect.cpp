#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>

#include "experiments/finetune_options.h"
#include "experiments/method.h"
#include "nn/adapter.h"
#include "nn/adapter_config.h"
#include "nn/bert.h"
#include "nn/bert_config.h"
#include "nn/checkpoint.h"
#include "nn/model.h"
#include "nn/printable.h"
#include "tensor/error.h"
#include "tools/commands.h"
#include "tools/common_options.h"
#include "tools/method_options.h"
#include "tools/model_options.h"

namespace normtune {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct InspectOptions {
  CommonOptions common;
  fs::path model;
  MethodArguments method;
  std::optional<int64_t> num_labels;
  std::optional<uint64_t> init_seed;
  bool tensors = false;
};

/// What the command tells of a model.
struct Inspection {
  BertConfig config;
  std::string method;
  std::vector<ComponentCount> components;
  Json tensors = Json::array();
  int64_t total = 0, trainable = 0;
  std::optional<fs::path> weights_file;
  LoadReport report;  // of the weights, where they are there
};

bool may_be_drawn(const Parameter& parameter) {
  return parameter.component == "classifier" || parameter.component == "pooler.dense";
}

/// Compares the weights with what config.json asks for. A classifier or pooler that is not there, or a
/// classifier of another size, would be drawn; anything else that does not fit is an error.
void compare_weights(const StateDict& state, const Bert& bert, LoadReport& report) {
  for (const Parameter& parameter : bert.parameters()) {
    const Tensor* tensor = state.find(parameter.name);
    const bool fits = tensor != nullptr && tensor->shape() == parameter.variable.shape();
    if (fits) {
      report.loaded.push_back(parameter.name);
    } else if (may_be_drawn(parameter) && (tensor == nullptr || parameter.component == "classifier")) {
      report.fresh.push_back(parameter.name);
    } else if (tensor == nullptr) {
      fail(ErrorKind::model, "{}: tensor '{}' is missing; expected every tensor that config.json asks for",
           state.source.string(), parameter.name);
    } else {
      fail(ErrorKind::model, "{}: tensor '{}': expected shape {} from config.json, found {}",
           state.source.string(), parameter.name, parameter.variable.shape(), tensor->shape());
    }
  }
  for (const NamedTensor& tensor : state.tensors) {
    if (bert.parameters().find(tensor.name) == nullptr) report.surplus.push_back(tensor.name);
  }
  require_no_surplus(bert, state);
}

Json tensor_list(const Bert& bert, const std::vector<TrainableTensor>& trainable) {
  std::unordered_map<std::string, int64_t> moving;
  for (const TrainableTensor& tensor : trainable) moving[tensor.name] = tensor.numel();
  Json list = Json::array();
  for (const Parameter& parameter : bert.parameters()) {
    const Shape& shape = parameter.variable.shape();
    list.push_back({{"tensor", parameter.name},
                    {"component", parameter.component},
                    {"layer", parameter.layer < 0 ? Json() : Json(parameter.layer)},
                    {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
                    {"parameters", parameter.numel()},
                    {"trainable", moving[parameter.name]}});
  }
  return list;
}

/// The adapters that lie in or beside the model count as part of it.
void insert_adapters(Bert& bert, const fs::path& folder) {
  for (const fs::path& candidate : {folder, folder / "adapterhub"}) {
    if (adapter_folder_kind(candidate) != AdapterFolder::adapterhub) continue;
    AdapterHubDelta delta = read_adapterhub_folder(candidate);
    delta.head.clear();  // only counted here, and --num_labels may say otherwise
    load_adapters(bert, delta);
    return;
  }
}

BertConfig read_config(const InspectOptions& inspect, const fs::path& folder) {
  BertConfig config = read_bert_config(folder);
  if (inspect.num_labels) {
    config.id2label.clear();
    for (int64_t i = 0; i < *inspect.num_labels; ++i) config.id2label.push_back(fmt::format("LABEL_{}", i));
  }
  return config;
}

Inspection inspect_model(const InspectOptions& inspect) {
  const fs::path folder = base_model_folder(inspect.model);
  Inspection result{.config = read_config(inspect, folder)};
  // Parameters that nobody writes take no memory: the model is built whole and only counted.
  Bert bert(result.config, BertHead::classification);
  if (!find_weights(folder).empty()) {
    const StateDict state = read_state_dict(folder);
    result.weights_file = state.source;
    compare_weights(state, bert, result.report);
  }
  insert_adapters(bert, inspect.model);
  const MethodOptions method = resolve_method(inspect.method, inspect.common.seed);
  const std::vector<TrainableTensor> trainable =
      apply_method(bert, method, inspect.init_seed.value_or(inspect.common.seed));
  result.method = method.train_params.empty() ? method.method : method.train_params;
  result.components = count_components(bert, trainable);
  result.tensors = tensor_list(bert, trainable);
  result.total = bert.parameters().numel();
  result.trainable = trainable_elements(trainable);
  return result;
}

std::string describe_config(const BertConfig& config) {
  return fmt::format(
      "BERT: {} layers, hidden size {}, {} heads, intermediate size {}, vocabulary {}, {} positions, {} "
      "label{}",
      config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size,
      with_thousands(config.vocab_size), config.max_position_embeddings, config.num_labels(),
      config.num_labels() == 1 ? "" : "s");
}

std::string describe_weights(const Inspection& inspection) {
  if (!inspection.weights_file) return "weights: none found; the counts need config.json only";
  std::string text =
      fmt::format("weights: {}, {} tensors of this model", inspection.weights_file->filename().string(),
                  inspection.report.loaded.size());
  if (!inspection.report.fresh.empty()) {
    text += fmt::format("; not there, to be drawn: {}", fmt::join(inspection.report.fresh, ", "));
  }
  return text;
}

std::string component_table(const Inspection& inspection) {
  std::vector<std::vector<std::string>> rows = {{"component", "tensors", "parameters", "trainable"}};
  int64_t tensors = 0;
  for (const ComponentCount& count : inspection.components) {
    rows.push_back({count.component, with_thousands(count.tensors), with_thousands(count.parameters),
                    with_thousands(count.trainable)});
    tensors += count.tensors;
  }
  rows.push_back({"total", with_thousands(tensors), with_thousands(inspection.total),
                  with_thousands(inspection.trainable)});
  return format_table(rows);
}

std::string tensor_table(const Inspection& inspection) {
  std::vector<std::vector<std::string>> rows = {{"tensor", "shape", "parameters", "trainable"}};
  for (const Json& tensor : inspection.tensors) {
    rows.push_back({tensor["tensor"].get<std::string>(),
                    fmt::format("{}", fmt::join(tensor["shape"].get<std::vector<int64_t>>(), " x ")),
                    with_thousands(tensor["parameters"].get<int64_t>()),
                    with_thousands(tensor["trainable"].get<int64_t>())});
  }
  return format_table(rows);
}

void print(const Console& console, const InspectOptions& inspect, const Inspection& inspection) {
  console.result(describe_config(inspection.config));
  console.result(describe_weights(inspection));
  console.result("");
  if (inspect.tensors) console.result(tensor_table(inspection));
  console.result(component_table(inspection));
  console.result(
      fmt::format("{}: {} of {} parameters are trainable ({:.4g} %), head included", inspection.method,
                  with_thousands(inspection.trainable), with_thousands(inspection.total),
                  100.0 * static_cast<double>(inspection.trainable) / static_cast<double>(inspection.total)));
}

Json weights_document(const Inspection& inspection) {
  if (!inspection.weights_file) return nullptr;
  return {{"file", inspection.weights_file->string()},
          {"loaded", inspection.report.loaded.size()},
          {"fresh", inspection.report.fresh},
          {"surplus", inspection.report.surplus}};
}

Json json_document(const InspectOptions& inspect, const Inspection& inspection) {
  Json components = Json::array();
  for (const ComponentCount& count : inspection.components) {
    components.push_back({{"component", count.component},
                          {"tensors", count.tensors},
                          {"parameters", count.parameters},
                          {"trainable", count.trainable}});
  }
  Json result = {{"model", inspect.model.string()},
                 {"method", inspection.method},
                 {"num_labels", inspection.config.num_labels()},
                 {"weights", weights_document(inspection)},
                 {"total_parameters", inspection.total},
                 {"trainable_parameters", inspection.trainable},
                 {"components", components}};
  if (inspect.tensors) result["tensors"] = inspection.tensors;
  return result;
}

}  // namespace

int run_inspect(Arguments arguments) {
  InspectOptions inspect;
  Options options("inspect", "Counts the parameters of a model and those that a method trains.");
  add_model_option(options, inspect.model);
  options.integer("num_labels", inspect.num_labels, at_least_1, "size of the classifier",
                  "id2label of config.json, else 2");
  options.boolean("tensors", inspect.tensors, "lists each tensor");
  add_method_options(options, inspect.method);
  options.seed("init_seed", inspect.init_seed, "of new weights", "--seed");
  add_common_options(options, inspect.common);
  if (!options.parse(arguments)) return 0;
  apply_common_options(inspect.common);
  require_model(options, inspect.model);

  const Inspection inspection = inspect_model(inspect);
  const Console console = inspect.common.console();
  if (inspection.weights_file) console.detail(to_text(inspection.report));
  print(console, inspect, inspection);
  console.document(json_document(inspect, inspection));
  return 0;
}

}  // namespace normtune
