#include "nn/parameter.h"

#include <algorithm>
#include <charconv>

namespace normtune {

namespace {

bool remove_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

Parameter label_parameter(std::string name) {
  Parameter parameter;
  std::string_view path = name;
  remove_prefix(path, "bert.");
  if (remove_prefix(path, "encoder.layer.")) {
    const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), parameter.layer);
    check(error == std::errc() && end != path.data() + path.size() && *end == '.',
          "parameter: expected a layer index in '{}'", name);
    path.remove_prefix(static_cast<size_t>(end - path.data()) + 1);
  }
  const size_t dot = path.rfind('.');
  check(dot != std::string_view::npos, "parameter: expected a dotted name, found '{}'", name);
  parameter.is_bias = path.substr(dot + 1) == "bias";
  parameter.component = path.substr(0, dot);
  parameter.name = std::move(name);
  return parameter;
}

Variable ParameterList::add(const std::string& name, Tensor value) {
  check(find(name) == nullptr, "parameter: '{}' is registered twice", name);
  Parameter parameter = label_parameter(name);
  parameter.variable = Variable(std::move(value));
  parameters_.push_back(parameter);
  return parameter.variable;
}

void ParameterList::remove(std::string_view name) {
  std::erase_if(parameters_, [&](const Parameter& parameter) { return parameter.name == name; });
}

const Parameter* ParameterList::find(std::string_view name) const {
  const auto found =
      std::find_if(begin(), end(), [&](const Parameter& parameter) { return parameter.name == name; });
  return found == end() ? nullptr : &*found;
}

const Parameter& ParameterList::at(std::string_view name) const {
  const Parameter* parameter = find(name);
  check(parameter != nullptr, "parameter: the model has no tensor '{}'", name);
  return *parameter;
}

int64_t ParameterList::numel() const {
  int64_t total = 0;
  for (const Parameter& parameter : parameters_) total += parameter.numel();
  return total;
}

std::vector<Variable> ParameterList::variables() const {
  std::vector<Variable> variables;
  variables.reserve(size());
  for (const Parameter& parameter : parameters_) variables.push_back(parameter.variable);
  return variables;
}

void ParameterList::zero_grad() {
  for (Parameter& parameter : parameters_) parameter.variable.zero_grad();
}

}  // namespace normtune
