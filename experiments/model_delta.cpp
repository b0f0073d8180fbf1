#include "experiments/model_delta.h"

#include <algorithm>
#include <bit>
#include <map>
#include <type_traits>

#include "experiments/model_folder.h"
#include "experiments/run_folder.h"
#include "nn/adapter.h"
#include "nn/adapter_config.h"
#include "nn/adapterhub_folder.h"
#include "nn/delta_model.h"
#include "nn/mapped_file.h"
#include "nn/printable.h"
#include "nn/tensor_file.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

/// Nothing of an earlier model or run may stay: commands would load its adapters with the new weights.
void clear_output(const fs::path& output_dir) {
  if (fs::is_directory(output_dir)) remove_run_files(output_dir);
}

bool is_adapter_name(const std::string& name) {
  return name.find(".adapters.") != std::string::npos;
}

void require_no_adapters(const ModelFolder& model) {
  for (const std::string& name : model.names()) {
    if (!is_adapter_name(name)) continue;
    fail(ErrorKind::model,
         "{}: tensor {} belongs to an adapter; expected a model without adapters (its adapterhub/ is a delta "
         "already)",
         model.path().string(), printable(name));
  }
}

// ---- diff

/// Flat indices of the elements whose bits differ.
template <typename T>
std::vector<int64_t> changed_elements(const T* before, const T* after, int64_t count) {
  using Bits = std::conditional_t<sizeof(T) == sizeof(uint32_t), uint32_t, uint64_t>;
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i) {
    if (std::bit_cast<Bits>(before[i]) != std::bit_cast<Bits>(after[i])) indices.push_back(i);
  }
  return indices;
}

Tensor values_at(const Tensor& tensor, const std::vector<int64_t>& indices) {
  Tensor values = Tensor::empty({static_cast<int64_t>(indices.size())}, tensor.dtype());
  dispatch_floating(tensor.dtype(), [&]<typename T>() {
    for (size_t i = 0; i < indices.size(); ++i) values.data<T>()[i] = tensor.data<T>()[indices[i]];
  });
  return values;
}

void add_change(const std::string& name, const Tensor& before, const Tensor& after, SubsetDelta& delta) {
  if (!(before.shape() == after.shape()) || before.dtype() != after.dtype()) {
    delta.tensors.push_back({name, after});
    return;
  }
  std::vector<int64_t> indices = dispatch_floating(after.dtype(), [&]<typename T>() {
    return changed_elements(before.data<T>(), after.data<T>(), after.numel());
  });
  if (indices.empty()) return;
  // An index takes as much room as a value.
  if (2 * static_cast<int64_t>(indices.size()) > after.numel()) {
    delta.tensors.push_back({name, after});
  } else {
    Tensor values = values_at(after, indices);
    delta.elements.push_back({name, std::move(indices), std::move(values)});
  }
}

// ---- merge: a delta file

void check_base(const SubsetDelta& delta, const fs::path& file, const ModelFolder& base) {
  const std::string& expected = delta.origin.base_model_sha256;
  if (expected.empty()) return;
  const std::string found = base.weights_sha256();
  if (found == expected) return;
  fail(ErrorKind::model,
       "{}: was made from weights with SHA-256 {}..., {} has {}...; give that base, or --allow_other_base",
       file.string(), expected.substr(0, 12), base.weights_file().string(), found.substr(0, 12));
}

std::map<std::string, Tensor> tensors_of(const ModelFolder& base) {
  std::map<std::string, Tensor> tensors;
  for (const std::string& name : base.names()) tensors.emplace(name, base.read(name));
  return tensors;
}

void put_elements(const SparseValues& sparse, const fs::path& file, std::map<std::string, Tensor>& tensors) {
  const auto found = tensors.find(sparse.name);
  if (found == tensors.end()) {
    fail(ErrorKind::model, "{}: has elements of tensor {}, which the base lacks", file.string(),
         printable(sparse.name));
  }
  Tensor& tensor = found->second;
  if (!sparse.indices.empty() && sparse.indices.back() >= tensor.numel()) {
    fail(ErrorKind::model, "{}: tensor {}: index {} is beyond the {} elements of the base", file.string(),
         printable(sparse.name), sparse.indices.back(), tensor.numel());
  }
  tensor = tensor.clone();
  dispatch_floating(tensor.dtype(), [&]<typename T>() {
    const Tensor values = sparse.values.to(dtype_of<T>());
    for (size_t i = 0; i < sparse.indices.size(); ++i) {
      tensor.data<T>()[sparse.indices[i]] = values.data<T>()[i];
    }
  });
}

/// A whole tensor replaces one of its shape. Another shape needs a configuration that says so; the classifier
/// may always have other classes.
void put_tensor(const NamedTensor& named, const SubsetDelta& delta, const fs::path& file,
                std::map<std::string, Tensor>& tensors) {
  const auto found = tensors.find(named.name);
  const bool may_differ = !delta.config_json.empty() || module_path(named.name) == "classifier";
  if (found != tensors.end() && !may_differ) require_shape(named, found->second.shape(), file.string());
  tensors[named.name] = named.tensor;
}

/// The base's configuration, with as many classes as the merged model has.
std::string merged_config(const fs::path& base, const std::map<std::string, Tensor>& tensors) {
  const fs::path folder = base_model_folder(base);
  const auto classifier = tensors.find("classifier.weight");
  if (classifier == tensors.end()) return read_file(folder / "config.json", ErrorKind::model);
  BertConfig config = read_bert_config(folder);
  const int64_t num_labels = classifier->second.size(0);
  if (config.num_labels() != num_labels) {
    config.id2label.clear();
    for (int64_t i = 0; i < num_labels; ++i) config.id2label.push_back(fmt::format("LABEL_{}", i));
    config.problem_type = num_labels == 1 ? "regression" : "single_label_classification";
  }
  return bert_config_json(config, "BertForSequenceClassification");
}

MergeReport merge_file(const ModelFolder& base, const fs::path& file, const fs::path& output_dir,
                       const MergeOptions& options) {
  const SubsetDelta delta = read_subset_delta(file);
  if (!options.allow_other_base) check_base(delta, file, base);
  std::map<std::string, Tensor> tensors = tensors_of(base);
  for (const std::string& name : delta.removed) {
    if (tensors.erase(name) == 1) continue;
    fail(ErrorKind::model, "{}: removes tensor {}, which the base lacks", file.string(), printable(name));
  }
  for (const NamedTensor& named : delta.tensors) put_tensor(named, delta, file, tensors);
  for (const SparseValues& sparse : delta.elements) put_elements(sparse, file, tensors);

  const std::string config =
      delta.config_json.empty() ? merged_config(base.path(), tensors) : delta.config_json;
  std::vector<NamedTensor> merged;
  for (auto& [name, tensor] : tensors) merged.push_back({name, std::move(tensor)});
  clear_output(output_dir);
  copy_tokenizer_files(base_model_folder(base.path()), output_dir);
  write_model_folder(output_dir, config, std::move(merged));
  return {.delta = describe(delta), .left_over = {}};
}

// ---- merge: a folder of PEFT or AdapterHub

std::string_view name_of(AdapterFolder kind) {
  switch (kind) {
    case AdapterFolder::peft_lora:
      return "a LoRA folder of PEFT";
    case AdapterFolder::peft_ln_tuning:
      return "an LN_TUNING folder of PEFT";
    case AdapterFolder::adapterhub:
      return "a folder of AdapterHub";
  }
  return "";
}

/// What neither the base nor the delta has (a classifier) would be drawn at random: it is left out.
MergeReport merge_folder(const ModelFolder& base, const fs::path& delta, AdapterFolder kind,
                         const fs::path& output_dir) {
  Model model = load_delta_over(base.path(), delta, {});
  const std::vector<std::string>& drawn = model.report.fresh;
  std::vector<NamedTensor> tensors = plain_tensors(model.bert);
  std::erase_if(tensors, [&](const NamedTensor& named) {
    return std::find(drawn.begin(), drawn.end(), named.name) != drawn.end();
  });
  MergeReport report{.delta = std::string(name_of(kind)), .left_over = {}};
  clear_output(output_dir);
  if (model.adapter) {
    AdapterHubDelta adapters = extract_adapters(model.bert, *model.adapter);
    if (model.fresh_classifier) adapters.head.clear();
    for (const NamedTensor& named : adapters.tensors) report.left_over.push_back(named.name);
    write_adapterhub_folder(output_dir / "adapterhub", adapters);
  }
  copy_tokenizer_files(model.base_folder, output_dir);
  write_model_folder(output_dir, bert_config_json(model.bert.config(), "BertForSequenceClassification"),
                     std::move(tensors));
  return report;
}

}  // namespace

std::string describe(const SubsetDelta& delta) {
  int64_t elements = 0;
  for (const SparseValues& sparse : delta.elements) elements += static_cast<int64_t>(sparse.indices.size());
  return fmt::format("{} whole tensors, {} elements of {} others, {} tensors removed", delta.tensors.size(),
                     elements, delta.elements.size(), delta.removed.size());
}

SubsetDelta diff_models(const fs::path& before, const fs::path& after) {
  const ModelFolder base(before), changed(after);
  require_no_adapters(base);
  require_no_adapters(changed);
  SubsetDelta delta{.origin = {.method = "diff", .base_model_sha256 = base.weights_sha256(), .selector = {}},
                    .tensors = {},
                    .elements = {}};
  for (const std::string& name : base.names()) {
    if (!changed.contains(name)) delta.removed.push_back(name);
  }
  for (const std::string& name : changed.names()) {
    if (base.contains(name)) {
      add_change(name, base.read(name), changed.read(name), delta);
    } else {
      delta.tensors.push_back({name, changed.read(name)});
    }
  }
  const fs::path config = after / "config.json";
  if (fs::exists(config)) delta.config_json = read_file(config, ErrorKind::model);
  return delta;
}

MergeReport merge_delta(const fs::path& base, const fs::path& delta, const fs::path& output_dir,
                        const MergeOptions& options) {
  const ModelFolder model(base);
  require_no_adapters(model);
  if (fs::is_directory(delta)) {
    const std::optional<AdapterFolder> kind = adapter_folder_kind(delta);
    if (kind) return merge_folder(model, delta, *kind, output_dir);
    fail(
        ErrorKind::model,
        "{}: has no adapter_config.json; expected a folder of PEFT or AdapterHub, or a file of normtune diff",
        delta.string());
  }
  return merge_file(model, delta, output_dir, options);
}

}  // namespace normtune
