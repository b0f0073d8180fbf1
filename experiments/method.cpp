#include "experiments/method.h"

#include <fnmatch.h>

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <unordered_set>

#include "experiments/element_mask.h"
#include "experiments/nearest_name.h"
#include "nn/adapter.h"
#include "nn/lora.h"
#include "nn/mask_file.h"

namespace normtune {

namespace {

constexpr const char* adapter_name = "normtune";

bool is_head(const Parameter& parameter) {
  return parameter.component == "classifier";
}
bool is_pooler(const Parameter& parameter) {
  return parameter.component == "pooler.dense";
}
bool is_layer_norm(const Parameter& parameter) {
  return parameter.component.ends_with("LayerNorm");
}
/// The post-FFN LayerNorm of a block: the paper's component. attention.output.LayerNorm is another one.
bool is_output_layer_norm(const Parameter& parameter) {
  return parameter.component == "output.LayerNorm";
}
bool is_lora(const Parameter& parameter) {
  return parameter.component.ends_with(".lora_A") || parameter.component.ends_with(".lora_B");
}

/// Which elements of which tensors move: whole tensors by name, and lists of elements for others.
struct Selection {
  std::unordered_set<std::string> whole;
  std::unordered_map<std::string, std::vector<int64_t>> elements;  // sorted
};

using Predicate = std::function<bool(const Parameter&)>;

/// A method: an optional change of the model, and a choice of parameters. Methods that choose single elements
/// come with `select`, all others with a predicate over (component, layer, weight or bias).
struct Method {
  MethodDescription description;
  Predicate trains;
  std::function<void(Bert&, const MethodOptions&, uint64_t init_seed)> transform = nullptr;
  std::function<Selection(const Bert&, const MethodOptions&)> select = nullptr;
};

// ---- Transforms
// ---------------------------------------------------------------------------------------------------

/// Refuses sizes that no method has use for, before memory for them is asked for.
void require_at_most(int64_t most, const char* option, int64_t size, const char* reason) {
  if (size <= most) return;
  fail(ErrorKind::usage, "--{}: expected at most {} ({}), found {}", option, most, reason, size);
}

void check_adapter_size(const Bert& model, const MethodOptions& options) {
  if (!options.adapter_size) return;
  require_at_most(4 * model.config().intermediate_size, "adapter_size", *options.adapter_size,
                  "4 times the model's intermediate_size");
}

void insert_houlsby(Bert& model, const MethodOptions& options, uint64_t init_seed) {
  check_adapter_size(model, options);
  attach_adapters(model, houlsby_settings(model.config(), options), init_seed);
}

void insert_pfeiffer(Bert& model, const MethodOptions& options, uint64_t init_seed) {
  check_adapter_size(model, options);
  attach_adapters(model, pfeiffer_settings(model.config(), options), init_seed);
}

void insert_lora(Bert& model, const MethodOptions& options, uint64_t init_seed) {
  require_at_most(model.config().hidden_size, "lora_r", options.lora_r,
                  "the model's hidden_size, where an update has full rank");
  attach_lora(model, lora_settings(options), init_seed);
}

// ---- Element masks
// ------------------------------------------------------------------------------------------------

Predicate random_scope(const Bert& model, const std::string& scope) {
  if (scope == "encoder") return [](const Parameter& parameter) { return parameter.layer >= 0; };
  if (scope == "model") return [](const Parameter& parameter) { return !is_head(parameter); };
  std::vector<std::string> names = {"encoder", "model"};
  for (const Parameter& parameter : model.parameters()) {
    if (parameter.component == scope && !is_head(parameter)) {
      return [scope](const Parameter& other) { return other.component == scope; };
    }
    if (!is_head(parameter)) names.push_back(parameter.component);
  }
  fail(ErrorKind::usage, "--random_scope: expected encoder, model or a component, found '{}'; nearest: {}",
       scope, nearest_name(scope, names));
}

Selection select_random(const Bert& model, const MethodOptions& options) {
  const Predicate in_scope = random_scope(model, options.random_scope);
  std::vector<TensorSize> tensors;
  int64_t scope_size = 0;
  for (const Parameter& parameter : model.parameters()) {
    if (!in_scope(parameter)) continue;
    tensors.push_back({parameter.name, parameter.numel()});
    scope_size += parameter.numel();
  }
  const BertConfig& config = model.config();
  const int64_t k = options.random_k.value_or(2 * config.num_hidden_layers * config.hidden_size);
  if (k < 0 || k > scope_size) {
    fail(ErrorKind::usage, "--random_k: expected at most the {} elements of '{}', found {}", scope_size,
         options.random_scope, k);
  }
  const std::vector<int64_t> positions = sample_without_replacement(k, scope_size, options.mask_seed);
  Selection selection;
  for (MaskedTensor& masked : split_positions(positions, tensors)) {
    selection.elements[masked.name] = std::move(masked.indices);
  }
  return selection;
}

Selection select_mask(const Bert& model, const MethodOptions& options) {
  if (options.mask.empty()) fail(ErrorKind::usage, "--method mask: expected --mask FILE");
  const std::string file = options.mask.string();
  Selection selection;
  for (const MaskedTensor& masked : read_mask(options.mask).tensors) {
    const Parameter* parameter = model.parameters().find(masked.name);
    if (parameter == nullptr) fail(ErrorKind::model, "{}: the model has no tensor '{}'", file, masked.name);
    if (is_head(*parameter)) {
      fail(ErrorKind::model, "{}: tensor '{}': the head is always trained and cannot be in a mask", file,
           masked.name);
    }
    if (!masked.indices.empty() && masked.indices.back() >= parameter->numel()) {
      fail(ErrorKind::model, "{}: tensor '{}': expected indices below {}, found {}", file, masked.name,
           parameter->numel(), masked.indices.back());
    }
    selection.elements[masked.name] = masked.indices;
  }
  return selection;
}

// ---- The methods
// --------------------------------------------------------------------------------------------------

/// Every method, in one place. The classifier is trained by all of them and is not repeated here.
const std::vector<Method>& methods() {
  static const std::vector<Method> table = {
      {{"full", "every parameter"}, [](const Parameter&) { return true; }},
      {{"head", "nothing else"}, [](const Parameter&) { return false; }},
      {{"layernorm", "gain and bias of each block's post-FFN output.LayerNorm (the paper's choice)"},
       is_output_layer_norm},
      {{"layernorm-attention", "gain and bias of each block's attention.output.LayerNorm"},
       [](const Parameter& parameter) { return parameter.component == "attention.output.LayerNorm"; }},
      {{"layernorm-all", "gain and bias of every LayerNorm, the embeddings' included"}, is_layer_norm},
      {{"layernorm-bias", "bias of each block's post-FFN output.LayerNorm"},
       [](const Parameter& parameter) { return is_output_layer_norm(parameter) && parameter.is_bias; }},
      {{"layernorm-gain", "gain of each block's post-FFN output.LayerNorm"},
       [](const Parameter& parameter) { return is_output_layer_norm(parameter) && !parameter.is_bias; }},
      {{"bitfit", "every bias (Ben Zaken et al. 2022), the pooler's included"},
       [](const Parameter& parameter) { return parameter.is_bias; }},
      {{"random", "k elements drawn at random (--random_k, --random_scope, --mask_seed)"},
       nullptr,
       nullptr,
       select_random},
      {{"mask", "the elements listed in a file (--mask)"}, nullptr, nullptr, select_mask},
      {{"houlsby", "two bottleneck adapters per block and, unless --houlsby_layernorm false, all LayerNorms"},
       is_adapter,
       insert_houlsby},
      {{"pfeiffer", "one bottleneck adapter per block, after the FFN"}, is_adapter, insert_pfeiffer},
      {{"lora", "low-rank updates of the query and value weights (--lora_r, --lora_target_modules)"},
       is_lora,
       insert_lora},
  };
  return table;
}

const Method& find_method(std::string_view name) {
  std::vector<std::string> names;
  for (const Method& method : methods()) {
    if (method.description.name == name) return method;
    names.emplace_back(method.description.name);
  }
  fail(ErrorKind::usage, "--method: unknown method '{}'; nearest: {}; there are {}", name,
       nearest_name(std::string(name), names), fmt::join(names, ", "));
}

// ---- Selection
// ----------------------------------------------------------------------------------------------------

/// Whether every method trains the pooler as part of the head: where it is asked for, or new and not frozen.
bool pooler_in_head(const MethodOptions& options) {
  return options.train_pooler == TrainPooler::yes ||
         (options.fresh_pooler && options.train_pooler == TrainPooler::automatic);
}

/// Whether the pooler is decided by --train_pooler rather than by the method: all methods but full, bitfit,
/// random and mask freeze it unless told otherwise.
bool selects_parameter(const Method& method, const MethodOptions& options, const Parameter& parameter) {
  if (is_pooler(parameter)) {
    if (pooler_in_head(options)) return true;
    if (options.train_pooler == TrainPooler::no) return false;
  }
  if (method.description.name == "houlsby" && options.houlsby_layernorm && is_layer_norm(parameter))
    return true;
  return method.trains(parameter);
}

/// The tensors that --train_params names. Every glob must match something.
Selection select_pattern(const Bert& model, const std::string& pattern) {
  Selection selection;
  for (const std::string& glob : split_pattern(pattern)) {
    bool matched = false;
    for (const Parameter& parameter : model.parameters()) {
      if (!matches_pattern(parameter.name, glob)) continue;
      selection.whole.insert(parameter.name);
      matched = true;
    }
    if (!matched) fail(ErrorKind::usage, "--train_params: no tensor of the model matches '{}'", glob);
  }
  return selection;
}

Selection select(const Bert& model, const Method& method, const MethodOptions& options) {
  if (!options.train_params.empty()) return select_pattern(model, options.train_params);
  if (method.select) return method.select(model, options);
  Selection selection;
  for (const Parameter& parameter : model.parameters()) {
    if (selects_parameter(method, options, parameter)) selection.whole.insert(parameter.name);
  }
  return selection;
}

/// The head moves whole, and so does the pooler where it belongs to it; --train_pooler false freezes it.
void add_head(const Bert& model, const MethodOptions& options, Selection& selection) {
  for (const Parameter& parameter : model.parameters()) {
    if (is_head(parameter) || (is_pooler(parameter) && pooler_in_head(options))) {
      selection.whole.insert(parameter.name);
      selection.elements.erase(parameter.name);
    } else if (is_pooler(parameter) && options.train_pooler == TrainPooler::no) {
      selection.whole.erase(parameter.name);
      selection.elements.erase(parameter.name);
    }
  }
}

bool decays(const Parameter& parameter) {
  return !parameter.is_bias && !is_layer_norm(parameter);
}

/// Sets requires_grad and lists what moves, in the order of the model.
std::vector<TrainableTensor> freeze_all_but(Bert& model, const Selection& selection) {
  std::vector<TrainableTensor> trainable;
  for (Parameter& parameter : model.parameters()) {
    const auto elements = selection.elements.find(parameter.name);
    const bool partly = elements != selection.elements.end() && !elements->second.empty();
    const bool moves = partly || selection.whole.contains(parameter.name);
    parameter.variable.set_requires_grad(moves);
    if (!moves) continue;
    TrainableTensor tensor{parameter.name, parameter.variable, {}, decays(parameter)};
    if (partly) {
      const std::vector<int64_t>& indices = elements->second;
      tensor.indices = Tensor::from_values({static_cast<int64_t>(indices.size())}, indices, model.device());
    }
    trainable.push_back(std::move(tensor));
  }
  return trainable;
}

}  // namespace

const std::vector<MethodDescription>& method_descriptions() {
  static const std::vector<MethodDescription> descriptions = [] {
    std::vector<MethodDescription> list;
    for (const Method& method : methods()) list.push_back(method.description);
    return list;
  }();
  return descriptions;
}

void check_method_name(std::string_view name) {
  find_method(name);
}

namespace {

/// At least one channel, as AdapterHub has it, however small the model.
int64_t reduced_size(const BertConfig& config, int64_t reduction_factor) {
  return std::max<int64_t>(1, config.hidden_size / reduction_factor);
}

}  // namespace

AdapterHubDelta houlsby_settings(const BertConfig& config, const MethodOptions& options) {
  const int64_t reduced =
      options.adapter_reduction_factor ? reduced_size(config, *options.adapter_reduction_factor) : 64;
  return {.name = adapter_name,
          .hidden_size = config.hidden_size,
          .bottleneck_size = options.adapter_size.value_or(reduced),
          .mh_adapter = true,
          .output_adapter = true,
          .non_linearity = options.adapter_non_linearity.empty() ? "gelu" : options.adapter_non_linearity,
          .original_ln_before = false,
          .init_weights = "houlsby"};
}

AdapterHubDelta pfeiffer_settings(const BertConfig& config, const MethodOptions& options) {
  const int64_t reduced = reduced_size(config, options.adapter_reduction_factor.value_or(16));
  return {.name = adapter_name,
          .hidden_size = config.hidden_size,
          .bottleneck_size = options.adapter_size.value_or(reduced),
          .mh_adapter = false,
          .output_adapter = true,
          .non_linearity = options.adapter_non_linearity.empty() ? "relu" : options.adapter_non_linearity,
          .original_ln_before = true,
          .init_weights = "bert"};
}

LoraDelta lora_settings(const MethodOptions& options) {
  return {.r = options.lora_r,
          .lora_alpha = options.lora_alpha,
          .lora_dropout = options.lora_dropout,
          .targets = {.modules = options.lora_target_modules, .regex = ""}};
}

std::vector<TrainableTensor> apply_method(Bert& model, const MethodOptions& options, uint64_t init_seed) {
  const Method& method = find_method(options.method);
  if (method.transform) method.transform(model, options, init_seed);
  Selection selection = select(model, method, options);
  add_head(model, options, selection);
  return freeze_all_but(model, selection);
}

int64_t trainable_elements(const std::vector<TrainableTensor>& tensors) {
  int64_t total = 0;
  for (const TrainableTensor& tensor : tensors) total += tensor.numel();
  return total;
}

std::vector<ComponentCount> count_components(const Bert& model,
                                             const std::vector<TrainableTensor>& trainable) {
  std::unordered_map<std::string, int64_t> trainable_of_tensor;
  for (const TrainableTensor& tensor : trainable) trainable_of_tensor[tensor.name] = tensor.numel();
  std::vector<ComponentCount> counts;
  for (const Parameter& parameter : model.parameters()) {
    auto count = std::find_if(counts.begin(), counts.end(), [&](const ComponentCount& existing) {
      return existing.component == parameter.component;
    });
    if (count == counts.end()) count = counts.insert(count, {.component = parameter.component});
    count->tensors += 1;
    count->parameters += parameter.numel();
    const auto moves = trainable_of_tensor.find(parameter.name);
    if (moves != trainable_of_tensor.end()) count->trainable += moves->second;
  }
  return counts;
}

std::vector<std::string> split_pattern(std::string_view pattern) {
  std::vector<std::string> globs;
  while (!pattern.empty()) {
    const size_t comma = std::min(pattern.find(','), pattern.size());
    if (comma > 0) globs.emplace_back(pattern.substr(0, comma));
    pattern.remove_prefix(std::min(comma + 1, pattern.size()));
  }
  return globs;
}

bool matches_pattern(std::string_view name, std::string_view pattern) {
  const std::string text(name);
  const std::vector<std::string> globs = split_pattern(pattern);
  return std::any_of(globs.begin(), globs.end(),
                     [&](const std::string& glob) { return fnmatch(glob.c_str(), text.c_str(), 0) == 0; });
}

}  // namespace normtune
