#include "experiments/dataset.h"

#include <algorithm>

#include "experiments/data_file.h"
#include "experiments/dataset_reader.h"
#include "experiments/nearest_name.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {

namespace detail {

double parse_score(std::string_view text, bool from_zero_to_five, const std::filesystem::path& file,
                   int64_t line) {
  const std::optional<double> score = parse_number(text);
  const bool in_range = score && (!from_zero_to_five || (*score >= 0.0 && *score <= 5.0));
  if (!in_range) {
    fail(ErrorKind::data, "{}, line {}: expected a {}, found {}", file.string(), line,
         from_zero_to_five ? "score from 0 to 5" : "finite number as score", printable(text));
  }
  return *score;
}

void finish_dataset(Dataset& dataset, int64_t max_samples) {
  check(max_samples > 0, "max_samples: expected at least 1, found {}", max_samples);
  if (dataset.examples.empty()) {
    fail(ErrorKind::data, "{}: expected rows, found none", dataset.files.at(0).string());
  }
  if (static_cast<int64_t>(dataset.examples.size()) > max_samples) {
    dataset.examples.resize(static_cast<size_t>(max_samples));
  }
}

}  // namespace detail

LabelScheme label_scheme(const Dataset& dataset) {
  return {.names = dataset.label_names, .regression = dataset.regression};
}

bool has_default_label_names(const std::vector<std::string>& id2label) {
  for (size_t i = 0; i < id2label.size(); ++i) {
    if (id2label[i] != fmt::format("LABEL_{}", i) && id2label[i] != std::to_string(i)) return false;
  }
  return true;
}

LabelScheme label_scheme(const std::vector<std::string>& id2label) {
  if (id2label.size() == 1) return {.regression = true};
  LabelScheme scheme{.names = id2label};
  if (has_default_label_names(id2label)) {
    for (size_t i = 0; i < id2label.size(); ++i) scheme.names[i] = std::to_string(i);
  }
  // Where names are numbers themselves, a number is a name and never a position.
  scheme.integers_are_classes = std::none_of(scheme.names.begin(), scheme.names.end(), [](const auto& name) {
    return parse_integer(name).has_value();
  });
  return scheme;
}

namespace {

/// The model's class for each class of the data set, by name; empty if the names are not the same ones.
std::vector<int32_t> match_classes(const std::vector<std::string>& names,
                                   const std::vector<std::string>& id2label) {
  std::vector<int32_t> model_class;
  for (const std::string& name : names) {
    const auto same = [&](const std::string& other) { return plain_name(other) == plain_name(name); };
    if (std::count_if(id2label.begin(), id2label.end(), same) != 1) return {};
    model_class.push_back(
        static_cast<int32_t>(std::find_if(id2label.begin(), id2label.end(), same) - id2label.begin()));
  }
  return model_class;
}

void renumber(Dataset& dataset, const std::vector<int32_t>& model_class) {
  for (Example& example : dataset.examples) {
    if (example.label >= 0) example.label = model_class[static_cast<size_t>(example.label)];
  }
  std::vector<std::string> names(dataset.label_names.size());
  for (size_t i = 0; i < names.size(); ++i)
    names[static_cast<size_t>(model_class[i])] = dataset.label_names[i];
  dataset.label_names = std::move(names);
  dataset.positive_class = model_class[static_cast<size_t>(dataset.positive_class)];
}

}  // namespace

void map_labels(Dataset& dataset, const std::vector<std::string>& id2label) {
  // A model with another number of classes gets a new classifier, in the task's own order.
  if (dataset.regression || id2label.size() != dataset.label_names.size()) return;
  const std::vector<int32_t> model_class = match_classes(dataset.label_names, id2label);
  if (!model_class.empty()) {
    renumber(dataset, model_class);
  } else if (!has_default_label_names(id2label)) {
    dataset.warnings.push_back(
        fmt::format("the model's classes ({}) are not those of {} ({}): taken in this order",
                    printable(fmt::format("{}", fmt::join(id2label, ", "))), dataset.task,
                    fmt::join(dataset.label_names, ", ")));
  } else if (dataset.task == "mnli" || dataset.task == "ax") {
    dataset.warnings.push_back(
        fmt::format("the model does not name its classes: taken as {}; older scripts used contradiction, "
                    "entailment, neutral",
                    fmt::join(dataset.label_names, ", ")));
  }
}

}  // namespace normtune
