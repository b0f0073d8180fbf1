#include "experiments/model_folder.h"

#include <algorithm>

#include "experiments/finetune_options.h"
#include "nn/adapter.h"
#include "nn/adapter_config.h"
#include "nn/adapterhub_folder.h"
#include "nn/model.h"
#include "nn/printable.h"

namespace normtune {

namespace fs = std::filesystem;

ModelFolder::ModelFolder(fs::path folder) : path_(std::move(folder)) {
  if (!fs::exists(path_ / "config.json") && adapter_folder_kind(path_).has_value()) {
    load_delta();
    return;
  }
  checkpoint_.emplace(path_);
  weights_file_ = checkpoint_->source();
  const fs::path adapters = path_ / "adapterhub";
  if (!fs::exists(adapters)) return;
  for (NamedTensor& named : read_adapterhub_folder(adapters).tensors) {
    in_memory_.emplace(std::move(named.name), std::move(named.tensor));
  }
}

void ModelFolder::load_delta() {
  Model model = load_model(path_, {});
  weights_file_ = model.weights_file;
  std::vector<NamedTensor> tensors = plain_tensors(model.bert);
  for (const Parameter& parameter : model.bert.parameters()) {
    if (is_adapter(parameter)) tensors.push_back({parameter.name, parameter.variable.tensor()});
  }
  const std::vector<std::string>& drawn = model.report.fresh;
  for (NamedTensor& named : tensors) {
    if (std::find(drawn.begin(), drawn.end(), named.name) != drawn.end()) continue;
    in_memory_.emplace(std::move(named.name), std::move(named.tensor));
  }
}

std::string ModelFolder::weights_sha256() const {
  return normtune::weights_sha256({.folder = path_, .base_folder = path_, .weights = weights_file_});
}

std::vector<std::string> ModelFolder::names() const {
  std::vector<std::string> names;
  if (checkpoint_) names = checkpoint_->names();
  for (const auto& [name, tensor] : in_memory_) {
    if (!checkpoint_ || !checkpoint_->contains(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool ModelFolder::contains(std::string_view name) const {
  return (checkpoint_ && checkpoint_->contains(name)) || in_memory_.contains(name);
}

const Shape& ModelFolder::shape(std::string_view name) const {
  if (checkpoint_ && checkpoint_->contains(name)) return checkpoint_->shape(name);
  const auto found = in_memory_.find(name);
  check(found != in_memory_.end(), "model folder: {} has no tensor '{}'", path_.string(), name);
  return found->second.shape();
}

Tensor ModelFolder::read(std::string_view name) const {
  const bool stored = checkpoint_ && checkpoint_->contains(name);
  check(stored || in_memory_.contains(name), "model folder: {} has no tensor '{}'", path_.string(), name);
  Tensor tensor = stored ? checkpoint_->read(name) : in_memory_.find(name)->second;
  if (!is_floating(tensor.dtype())) {
    fail(ErrorKind::model, "{}: tensor {}: expected floating-point values, found {}", path_.string(),
         printable(name), to_string(tensor.dtype()));
  }
  return tensor;
}

}  // namespace normtune
