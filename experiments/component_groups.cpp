#include "experiments/component_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include "nn/parameter.h"

namespace normtune {

namespace {

constexpr std::string_view key_component = "attention.self.key";

/// The components of BERT in the order in which data flows through them.
constexpr std::array<std::string_view, 18> data_flow = {"embeddings.word_embeddings",
                                                        "embeddings.position_embeddings",
                                                        "embeddings.token_type_embeddings",
                                                        "embeddings.LayerNorm",
                                                        "attention.self.query",
                                                        key_component,
                                                        "attention.self.value",
                                                        "attention.output.dense",
                                                        "attention.output.LayerNorm",
                                                        "intermediate.dense",
                                                        "output.dense",
                                                        "output.LayerNorm",
                                                        "pooler.dense",
                                                        "classifier",
                                                        "cls.predictions",
                                                        "cls.predictions.transform.dense",
                                                        "cls.predictions.transform.LayerNorm",
                                                        "cls.seq_relationship"};

/// A name that is not built like one of BERT's is its own component.
Parameter labels_of(const std::string& name) {
  try {
    return label_parameter(name);
  } catch (const std::invalid_argument&) {
    Parameter parameter;
    parameter.name = parameter.component = name;
    return parameter;
  }
}

Part part_of(const Parameter& parameter) {
  return parameter.is_bias ? Part::bias : Part::weight;
}

int64_t region_of(const Parameter& parameter) {
  if (parameter.layer >= 0) return 1;
  return parameter.component.starts_with("embeddings.") ? 0 : 2;
}

size_t place_in_data_flow(const std::string& component) {
  return static_cast<size_t>(std::find(data_flow.begin(), data_flow.end(), component) - data_flow.begin());
}

/// Layer by layer.
auto layer_order(const Parameter& parameter) {
  return std::tuple(region_of(parameter), parameter.layer, place_in_data_flow(parameter.component),
                    parameter.component, parameter.is_bias, parameter.name);
}

/// Component by component, also where some layers lack one.
auto component_order(const Parameter& parameter) {
  return std::tuple(region_of(parameter), place_in_data_flow(parameter.component), parameter.component,
                    parameter.is_bias, parameter.layer, parameter.name);
}

template <typename Key>
std::vector<size_t> sorted_by(const std::vector<Parameter>& labels, const Key& key) {
  std::vector<size_t> order(labels.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(labels[a]) < key(labels[b]); });
  return order;
}

bool same_row(const ComponentGroup& a, const ComponentGroup& b) {
  return std::tie(a.component, a.layer, a.part) == std::tie(b.component, b.layer, b.part);
}

/// Adds a tensor's group to the row that it belongs to, which is made when it is the first one.
void pool(std::vector<ComponentGroup>& rows, ComponentGroup group, bool over_layers, Part part) {
  group.tensor.clear();
  group.part = part;
  if (over_layers) group.layer.reset();
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const ComponentGroup& other) { return same_row(other, group); });
  if (row == rows.end()) {
    rows.push_back(std::move(group));
    return;
  }
  row->elements += group.elements;
  row->rounding_noise = row->rounding_noise && group.rounding_noise;
  row->members.insert(row->members.end(), group.members.begin(), group.members.end());
}

}  // namespace

std::string_view to_string(Part part) {
  switch (part) {
    case Part::all:
      return "all";
    case Part::weight:
      return "weight";
    case Part::bias:
      return "bias";
  }
  return "";
}

std::vector<std::string> bert_component_names(bool with_classifier, bool parts) {
  std::vector<std::string> names;
  for (const std::string_view component : data_flow) {
    if (component.starts_with("cls.") || (component == "classifier" && !with_classifier)) continue;
    names.emplace_back(component);
    if (!parts) continue;
    names.push_back(names.back() + ".weight");
    if (!component.ends_with("_embeddings")) names.push_back(std::string(component) + ".bias");
  }
  return names;
}

bool is_rounding_noise(std::string_view component, Part part) {
  return component == key_component && part == Part::bias;
}

ComponentLists group_by_component(const std::vector<TensorSize>& tensors) {
  std::vector<Parameter> labels;
  for (const TensorSize& tensor : tensors) labels.push_back(labels_of(tensor.name));
  const auto group_of = [&](size_t index) {
    const Parameter& parameter = labels[index];
    return ComponentGroup{.component = parameter.component,
                          .layer = parameter.layer < 0 ? std::nullopt : std::optional(parameter.layer),
                          .part = part_of(parameter),
                          .tensor = parameter.name,
                          .elements = tensors[index].elements,
                          .rounding_noise = is_rounding_noise(parameter.component, part_of(parameter)),
                          .members = {index}};
  };

  ComponentLists lists;
  for (const size_t index : sorted_by(labels, component_order)) {
    const ComponentGroup group = group_of(index);
    pool(lists.components, group, true, Part::all);
    pool(lists.component_parts, group, true, group.part);
  }
  for (const size_t index : sorted_by(labels, layer_order)) {
    ComponentGroup group = group_of(index);
    pool(lists.component_layers, group, false, Part::all);
    lists.tensors.push_back(std::move(group));
  }
  return lists;
}

std::string row_name(const ComponentGroup& group) {
  std::string name = group.component;
  if (group.part != Part::all) name += fmt::format(".{}", to_string(group.part));
  return group.layer ? fmt::format("{} {}", *group.layer, name) : name;
}

nlohmann::ordered_json group_json(const ComponentGroup& group) {
  nlohmann::ordered_json row;
  if (!group.tensor.empty()) row["tensor"] = group.tensor;
  row["component"] = group.component;
  row["layer"] = group.layer ? nlohmann::ordered_json(*group.layer) : nlohmann::ordered_json();
  row["part"] = std::string(to_string(group.part));
  row["elements"] = group.elements;
  row["rounding_noise"] = group.rounding_noise;
  return row;
}

ComponentGroup group_from_json(const nlohmann::json& row) {
  ComponentGroup group{.component = row.at("component"),
                       .part = Part::all,
                       .tensor = row.value("tensor", ""),
                       .elements = row.at("elements"),
                       .rounding_noise = row.at("rounding_noise")};
  if (!row.at("layer").is_null()) group.layer = row["layer"].get<int64_t>();
  for (const Part part : {Part::weight, Part::bias}) {
    if (row.at("part") == to_string(part)) group.part = part;
  }
  return group;
}

std::vector<std::string> group_columns(bool with_tensor) {
  std::vector<std::string> columns = {"component", "layer", "part", "elements", "rounding_noise"};
  if (with_tensor) columns.insert(columns.begin(), "tensor");
  return columns;
}

std::vector<std::string> group_fields(const ComponentGroup& group) {
  std::vector<std::string> fields = {group.component, group.layer ? std::to_string(*group.layer) : "",
                                     std::string(to_string(group.part)), std::to_string(group.elements),
                                     group.rounding_noise ? "true" : "false"};
  if (!group.tensor.empty()) fields.insert(fields.begin(), group.tensor);
  return fields;
}

}  // namespace normtune
