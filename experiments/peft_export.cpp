#include "experiments/peft_export.h"

#include "nn/lora.h"
#include "nn/peft_folder.h"

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

bool pooler_is_trained(const Bert& model) {
  return model.parameters().at(pooler_names[0]).variable.requires_grad();
}

LnTuningDelta extract_layer_norms(const Bert& model, const std::string& method) {
  LnTuningDelta delta{.targets = layer_norm_targets(method)};
  for (const Parameter& parameter : model.parameters()) {
    const std::string& name = parameter.name;
    if (delta.targets.match(name.substr(0, name.rfind('.')))) {
      delta.tensors.push_back({name, parameter.variable.tensor()});
    }
  }
  add_tensors(model, classifier_names, delta.tensors);
  return delta;
}

/// Lists the pooler among the modules that are stored whole.
template <typename Delta>
void add_trained_pooler(const Bert& model, Delta& delta) {
  if (!pooler_is_trained(model)) return;
  delta.modules_to_save.push_back("pooler");
  add_tensors(model, pooler_names, delta.tensors);
}

}  // namespace

void write_peft_delta(Bert& model, const MethodOptions& method, const std::string& base_model,
                      const std::filesystem::path& folder) {
  if (method.method == "lora") {
    LoraDelta delta = extract_lora(model, lora_settings(method));
    delta.base_model_name_or_path = base_model;
    add_trained_pooler(model, delta);
    write_lora_folder(folder, delta);
    return;
  }
  if (!method.method.starts_with("layernorm")) {
    fail(ErrorKind::usage, "method {}: has no PEFT format; expected lora or layernorm...", method.method);
  }
  LnTuningDelta delta = extract_layer_norms(model, method.method);
  delta.base_model_name_or_path = base_model;
  add_trained_pooler(model, delta);
  write_ln_tuning_folder(folder, delta);
}

}  // namespace normtune
