#include "experiments/peft_export.h"

#include <algorithm>
#include <unordered_set>

#include "nn/lora.h"
#include "nn/peft_folder.h"
#include "nn/tensor_file.h"

namespace normtune {

namespace {

const std::vector<std::string> pooler_names = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"};
const std::vector<std::string> classifier_names = {"classifier.weight", "classifier.bias"};

/// The LayerNorms of a method. PEFT matches a list entry as a suffix, and "output.LayerNorm" is also the end
/// of "attention.output.LayerNorm"; hence regular expressions over whole paths.
PeftTargets layer_norm_targets(const std::string& method) {
  if (method == "layernorm-all") return {.modules = {"LayerNorm"}, .regex = ""};
  const std::string half = method == "layernorm-attention" ? "attention\\.output" : "output";
  return {.modules = {}, .regex = "bert\\.encoder\\.layer\\.\\d+\\." + half + "\\.LayerNorm"};
}

void add_tensors(const Bert& model, const std::vector<std::string>& names,
                 std::vector<NamedTensor>& tensors) {
  for (const std::string& name : names) {
    tensors.push_back({name, model.parameters().at(name).variable.tensor()});
  }
}

/// Where the pooler is trained, lists it among the modules that are stored whole.
template <typename Delta>
void add_trained_pooler(const Bert& model, Delta& delta) {
  const bool trained = std::any_of(pooler_names.begin(), pooler_names.end(), [&](const std::string& name) {
    return model.parameters().at(name).variable.requires_grad();
  });
  if (!trained) return;
  delta.modules_to_save.push_back("pooler");
  add_tensors(model, pooler_names, delta.tensors);
}

LoraDelta lora_delta(Bert& model, const MethodOptions& method) {
  LoraDelta delta = extract_lora(model, lora_settings(method));
  add_trained_pooler(model, delta);
  return delta;
}

LnTuningDelta layer_norm_delta(const Bert& model, const std::string& method) {
  LnTuningDelta delta{.targets = layer_norm_targets(method)};
  for (const Parameter& parameter : model.parameters()) {
    if (delta.targets.match(module_path(parameter.name))) {
      delta.tensors.push_back({parameter.name, parameter.variable.tensor()});
    }
  }
  add_tensors(model, classifier_names, delta.tensors);
  add_trained_pooler(model, delta);
  return delta;
}

}  // namespace

bool has_peft_form(const std::string& method) {
  return method == "lora" || method.starts_with("layernorm");
}

void require_peft_form(Bert& model, const MethodOptions& method) {
  const std::vector<NamedTensor> tensors = method.method == "lora"
                                               ? lora_delta(model, method).tensors
                                               : layer_norm_delta(model, method.method).tensors;
  std::unordered_set<std::string> stored;
  for (const NamedTensor& named : tensors) stored.insert(named.name);
  for (const Parameter& parameter : model.parameters()) {
    if (!parameter.variable.requires_grad() || stored.contains(parameter.name)) continue;
    fail(ErrorKind::usage,
         "--save_unmerged: a PEFT folder of method {} has no place for '{}', which --train_params trains; "
         "leave out --save_unmerged (the output folder holds the whole model)",
         method.method, parameter.name);
  }
}

void write_peft_delta(Bert& model, const MethodOptions& method, const std::string& base_model,
                      const std::filesystem::path& folder) {
  if (method.method == "lora") {
    LoraDelta delta = lora_delta(model, method);
    delta.base_model_name_or_path = base_model;
    write_lora_folder(folder, delta);
  } else {
    LnTuningDelta delta = layer_norm_delta(model, method.method);
    delta.base_model_name_or_path = base_model;
    write_ln_tuning_folder(folder, delta);
  }
}

}  // namespace normtune
