#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/fisher.h"
#include "nn/atomic_file.h"
#include "nn/json_file.h"
#include "nn/safetensors.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr const char* kind_names[] = {"empirical", "expected"};

std::string name_of(FisherKind kind) {
  return kind_names[static_cast<int>(kind)];
}

// ---- Pooling

struct TensorTotals {
  double sum = 0, max = 0;
};

TensorTotals totals_of(const NamedTensor& named) {
  TensorTotals totals;
  for (const double value : named.tensor.to(DType::float64).to_vector<double>()) {
    totals.sum += value;
    totals.max = std::max(totals.max, value);
  }
  if (!std::isfinite(totals.sum)) {
    fail(ErrorKind::numeric,
         "tensor '{}': expected finite Fisher information, found a sum of {}; try --precision fp64",
         named.name, totals.sum);
  }
  return totals;
}

std::vector<FisherRow> pool(const std::vector<ComponentGroup>& groups,
                            const std::vector<TensorTotals>& totals) {
  std::vector<FisherRow> rows;
  for (const ComponentGroup& group : groups) {
    FisherRow row{.group = group};
    for (const size_t member : group.members) {
      row.sum += totals[member].sum;
      row.max = std::max(row.max, totals[member].max);
    }
    row.mean = row.sum / static_cast<double>(group.elements);
    rows.push_back(std::move(row));
  }
  return rows;
}

// ---- JSON

ordered_json rows_json(const std::vector<FisherRow>& rows) {
  ordered_json list = ordered_json::array();
  for (const FisherRow& row : rows) {
    ordered_json entry = group_json(row.group);
    entry["mean"] = row.mean;
    entry["max"] = row.max;
    entry["sum"] = row.sum;
    list.push_back(std::move(entry));
  }
  return list;
}

ordered_json source_json(const FisherSource& source) {
  return {{"kind", name_of(source.kind)},
          {"likelihood", source.regression ? "normal, variance 1" : "categorical"},
          {"model", source.model},
          {"task", source.task},
          {"split", source.split},
          {"samples", source.samples},
          {"max_seq_length", source.max_seq_length},
          {"precision", source.precision},
          {"init_seed", source.init_seed},
          {"fresh", source.fresh},
          {"model_sha256", source.model_sha256},
          {"data_sha256", source.data_sha256}};
}

FisherSource source_from(const json& document) {
  FisherSource source;
  source.kind = document.at("kind") == kind_names[1] ? FisherKind::expected : FisherKind::empirical;
  source.regression = document.at("likelihood") != "categorical";
  document.at("model").get_to(source.model);
  document.at("task").get_to(source.task);
  document.at("split").get_to(source.split);
  document.at("samples").get_to(source.samples);
  document.at("max_seq_length").get_to(source.max_seq_length);
  document.at("precision").get_to(source.precision);
  document.at("init_seed").get_to(source.init_seed);
  document.at("fresh").get_to(source.fresh);
  document.at("model_sha256").get_to(source.model_sha256);
  document.at("data_sha256").get_to(source.data_sha256);
  return source;
}

std::vector<FisherRow> rows_from(const json& list, const std::vector<ComponentGroup>& groups) {
  if (list.size() != groups.size()) {
    throw std::invalid_argument(fmt::format("expected {} rows, found {}", groups.size(), list.size()));
  }
  std::vector<FisherRow> rows;
  for (size_t i = 0; i < groups.size(); ++i) {
    rows.push_back({.group = groups[i],
                    .sum = list[i].at("sum").get<double>(),
                    .mean = list[i].at("mean").get<double>(),
                    .max = list[i].at("max").get<double>()});
  }
  return rows;
}

// ---- CSV

std::string rows_csv(const std::vector<FisherRow>& rows, bool with_tensor) {
  std::vector<std::string> heading = group_columns(with_tensor);
  heading.insert(heading.end(), {"mean", "max", "sum"});
  std::string text = fmt::format("{}\n", fmt::join(heading, ","));
  for (const FisherRow& row : rows) {
    text += fmt::format("{},{},{},{}\n", fmt::join(group_fields(row.group), ","), row.mean, row.max, row.sum);
  }
  return text;
}

}  // namespace

FisherReport make_fisher_report(FisherSource source, const std::vector<NamedTensor>& elements) {
  std::vector<TensorSize> sizes;
  std::vector<TensorTotals> totals;
  for (const NamedTensor& named : elements) {
    sizes.push_back({named.name, named.tensor.numel()});
    totals.push_back(totals_of(named));
  }
  const ComponentLists lists = group_by_component(sizes);
  return {.source = std::move(source),
          .components = pool(lists.components, totals),
          .component_parts = pool(lists.component_parts, totals),
          .component_layers = pool(lists.component_layers, totals),
          .tensors = pool(lists.tensors, totals)};
}

ordered_json to_json(const FisherReport& report) {
  ordered_json document = source_json(report.source);
  document["components"] = rows_json(report.components);
  document["component_parts"] = rows_json(report.component_parts);
  document["component_layers"] = rows_json(report.component_layers);
  document["tensors"] = rows_json(report.tensors);
  return document;
}

FisherReport fisher_report_from_json(const json& document, const std::string& where) {
  try {
    std::vector<TensorSize> sizes;
    for (const json& row : document.at("tensors")) {
      sizes.push_back({row.at("tensor").get<std::string>(), row.at("elements").get<int64_t>()});
    }
    const ComponentLists lists = group_by_component(sizes);
    return {.source = source_from(document),
            .components = rows_from(document.at("components"), lists.components),
            .component_parts = rows_from(document.at("component_parts"), lists.component_parts),
            .component_layers = rows_from(document.at("component_layers"), lists.component_layers),
            .tensors = rows_from(document.at("tensors"), lists.tensors)};
  } catch (const json::exception& error) {
    fail(ErrorKind::data, "{}: expected what normtune fisher writes, found {}", where, error.what());
  } catch (const std::invalid_argument& error) {
    fail(ErrorKind::data, "{}: expected what normtune fisher writes: {}", where, error.what());
  }
}

FisherReport read_fisher_report(const fs::path& file) {
  return fisher_report_from_json(read_json_file(file, ErrorKind::data), file.string());
}

void write_fisher(const FisherMeasurement& measurement, const fs::path& folder) {
  const FisherReport& report = measurement.report;
  fs::create_directories(folder);
  write_file_atomically(folder / "components.csv", rows_csv(report.components, false));
  write_file_atomically(folder / "component_parts.csv", rows_csv(report.component_parts, false));
  write_file_atomically(folder / "component_layers.csv", rows_csv(report.component_layers, false));
  write_file_atomically(folder / "tensors.csv", rows_csv(report.tensors, true));
  write_file_atomically(folder / "fisher.json", to_json(report).dump(2) + "\n");
  const auto weights = report.source.model_sha256.find("weights");
  write_safetensors(
      folder / "fisher.safetensors", measurement.elements,
      {{"method", "fisher"},
       {"kind", name_of(report.source.kind)},
       {"task", report.source.task},
       {"samples", std::to_string(report.source.samples)},
       {"base_model_sha256", weights == report.source.model_sha256.end() ? "" : weights->second}});
}

}  // namespace normtune
