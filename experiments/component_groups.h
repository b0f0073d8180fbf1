#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace normtune {

/// A tensor of a model folder, as far as grouping needs it.
struct TensorSize {
  std::string name;  ///< the Hugging Face name
  int64_t elements = 0;
};

/// Weight and bias of a component are told apart, or pooled. A LayerNorm's gain is its weight.
enum class Part { all, weight, bias };
std::string_view to_string(Part part);

/// One row of a report: the tensors whose elements are pooled in it.
struct ComponentGroup {
  std::string component;         ///< as in Parameter: "output.LayerNorm"
  std::optional<int64_t> layer;  ///< none if pooled over layers, or outside the encoder
  Part part = Part::all;
  std::string tensor;  ///< the full name, in the list of tensors only
  int64_t elements = 0;
  /// Every tensor of the group is one that moves, and has a gradient, by rounding alone (is_rounding_noise):
  /// shown and marked, but left out of rankings.
  bool rounding_noise = false;
  std::vector<size_t> members;  ///< indices of the tensors in the list that was grouped
};

/// The rows of every report about a model (drift, Fisher information), from coarse to fine.
struct ComponentLists {
  std::vector<ComponentGroup> components;        ///< pooled over layers, weight with bias
  std::vector<ComponentGroup> component_parts;   ///< pooled over layers, weight and bias apart
  std::vector<ComponentGroup> component_layers;  ///< each layer by itself, weight with bias
  std::vector<ComponentGroup> tensors;           ///< nothing pooled
};

/// Groups tensors by the component and layer in their names. The order is the same for every folder: the
/// embeddings, the encoder layer by layer, then pooler and heads; inside a layer as the data flows (query,
/// key, value, attention.output.dense, ..., output.LayerNorm), what BERT does not have (adapters) last and by
/// name; weight before bias. Pooled over layers, components come in that same order, whichever layers have
/// them.
ComponentLists group_by_component(const std::vector<TensorSize>& tensors);

/// What a fine-tuned BERT has, in that same order: components, or with `parts` also their weights and biases.
/// `with_classifier`: that of the task is among them.
std::vector<std::string> bert_component_names(bool with_classifier, bool parts);

/// True for attention.self.key.bias. Softmax does not see a shift that is the same for all keys, so its
/// gradient is zero in mathematics and rounding noise in practice, which Adam divides by itself.
bool is_rounding_noise(std::string_view component, Part part);

/// How a row is named for people: "output.LayerNorm", "output.LayerNorm.bias", "3 output.LayerNorm".
std::string row_name(const ComponentGroup& group);

/// The members that begin the row of every list: `component`, `layer` (null if none), `part` ("all", "weight"
/// or "bias"), `tensor` (in the list of tensors only), `elements`, `rounding_noise`.
nlohmann::ordered_json group_json(const ComponentGroup& group);
/// The row again, without its members. Throws nlohmann's exceptions for what group_json does not write.
ComponentGroup group_from_json(const nlohmann::json& row);

/// The same as columns of a CSV file: heading and fields. `tensor` is among them for a list of tensors.
std::vector<std::string> group_columns(bool with_tensor);
std::vector<std::string> group_fields(const ComponentGroup& group);

}  // namespace normtune
