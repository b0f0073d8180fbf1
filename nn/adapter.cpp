#include "nn/adapter.h"

#include <algorithm>

#include "nn/initialization.h"

namespace normtune {

namespace {

Activation adapter_activation(const std::string& non_linearity) {
  if (non_linearity == "relu") return Activation::relu;
  if (non_linearity == "gelu") return Activation::gelu;
  if (non_linearity == "swish") return Activation::silu;
  fail(ErrorKind::model, "adapter: expected non_linearity relu, gelu or swish, found '{}'", non_linearity);
}

void draw_matrix(const Linear& linear, const std::string& name, const std::string& init_weights,
                 uint64_t seed) {
  if (init_weights == "houlsby") {
    fill_truncated_normal(linear.weight.tensor(), name, seed, 0.01);
  } else {
    fill_normal(linear.weight.tensor(), name, seed, 0.02);
  }
}

/// An adapter registered below `output_path`, for example "bert.encoder.layer.0.output".
Adapter make_adapter(Bert& model, const std::string& output_path, const AdapterHubDelta& settings,
                     uint64_t init_seed) {
  const std::string path = fmt::format("{}.adapters.{}", output_path, settings.name);
  const std::string down = path + ".adapter_down.0", up = path + ".adapter_up";
  const int64_t hidden_size = model.config().hidden_size, bottleneck_size = settings.bottleneck_size;
  Adapter adapter;
  adapter.down =
      Linear::make(model.parameters(), down, hidden_size, bottleneck_size, model.dtype(), model.device());
  adapter.up =
      Linear::make(model.parameters(), up, bottleneck_size, hidden_size, model.dtype(), model.device());
  adapter.activation = adapter_activation(settings.non_linearity);
  draw_matrix(adapter.down, down + ".weight", settings.init_weights, init_seed);
  draw_matrix(adapter.up, up + ".weight", settings.init_weights, init_seed);
  return adapter;
}

void copy_into(Bert& model, const NamedTensor& source) {
  const Parameter* parameter = model.parameters().find(source.name);
  if (parameter == nullptr)
    fail(ErrorKind::model, "adapter: the model has no place for tensor '{}'", source.name);
  Tensor target = parameter->variable.tensor();
  if (target.shape() != source.tensor.shape()) {
    fail(ErrorKind::model, "adapter: tensor '{}': expected shape [{}], found [{}]", source.name,
         fmt::join(target.shape(), ", "), fmt::join(source.tensor.shape(), ", "));
  }
  target.copy_from(source.tensor.to(target.dtype()).to(target.device()));
}

}  // namespace

void attach_adapters(Bert& model, const AdapterHubDelta& settings, uint64_t init_seed) {
  if (settings.hidden_size != model.config().hidden_size) {
    fail(ErrorKind::model, "adapter '{}': made for hidden_size {}, the model has {}", settings.name,
         settings.hidden_size, model.config().hidden_size);
  }
  if (std::any_of(model.parameters().begin(), model.parameters().end(), is_adapter)) {
    fail(ErrorKind::model, "adapter '{}': the model has adapters already; start from its base model",
         settings.name);
  }
  if (settings.scaling != 1 || settings.dropout != 0) {
    fail(ErrorKind::model, "adapter '{}': expected scaling 1 and dropout 0, found {} and {}", settings.name,
         settings.scaling, settings.dropout);
  }
  const AdapterPlacement placement =
      settings.original_ln_before ? AdapterPlacement::after_norm : AdapterPlacement::before_residual;
  for (int64_t i = 0; i < model.num_layers(); ++i) {
    const std::string path = fmt::format("bert.encoder.layer.{}", i);
    BertLayer& layer = model.layer(i);
    if (settings.mh_adapter) {
      layer.attention_output.adapter = make_adapter(model, path + ".attention.output", settings, init_seed);
      layer.attention_output.adapter_placement = placement;
    }
    if (settings.output_adapter) {
      layer.output.adapter = make_adapter(model, path + ".output", settings, init_seed);
      layer.output.adapter_placement = placement;
    }
  }
}

void load_adapters(Bert& model, const AdapterHubDelta& delta) {
  attach_adapters(model, delta, 0);
  for (const NamedTensor& tensor : delta.tensors) copy_into(model, tensor);
  for (const NamedTensor& tensor : delta.head) copy_into(model, tensor);
}

AdapterHubDelta extract_adapters(const Bert& model, AdapterHubDelta settings) {
  settings.tensors.clear();
  settings.head.clear();
  for (const Parameter& parameter : model.parameters()) {
    if (is_adapter(parameter)) settings.tensors.push_back({parameter.name, parameter.variable.tensor()});
    if (parameter.component == "classifier")
      settings.head.push_back({parameter.name, parameter.variable.tensor()});
  }
  settings.labels = model.config().id2label;
  return settings;
}

bool is_adapter(const Parameter& parameter) {
  return parameter.component.find(".adapters.") != std::string::npos;
}

}  // namespace normtune
