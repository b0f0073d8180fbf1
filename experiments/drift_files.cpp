#include <fmt/format.h>

#include <iterator>

#include "experiments/csv_file.h"
#include "experiments/drift.h"
#include "experiments/json_values.h"
#include "nn/atomic_file.h"
#include "nn/json_file.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr const char* quantile_keys[] = {"q05", "q25", "q50", "q75", "q95"};
static_assert(std::size(quantile_keys) == std::size(drift_quantiles));

// ---- Writing JSON

void add_change(ordered_json& row, const Change& change) {
  row["mean_abs"] = change.mean_abs;
  row["rel_l2"] = or_null<ordered_json>(change.rel_l2);
  row["cosine"] = or_null<ordered_json>(change.cosine);
  row["max_abs"] = change.max_abs;
  row["changed"] = change.changed;
  row["of_sign_walk"] = or_null<ordered_json>(change.of_sign_walk);
  row["of_random_walk"] = or_null<ordered_json>(change.of_random_walk);
  for (size_t i = 0; i < change.quantiles.size(); ++i) {
    row["quantiles"][quantile_keys[i]] = change.quantiles[i];
  }
}

ordered_json change_json(const Change& change) {
  ordered_json value;
  add_change(value, change);
  return value;
}

ordered_json rows_json(const std::vector<DriftRow>& rows) {
  ordered_json list = ordered_json::array();
  for (const DriftRow& row : rows) {
    list.push_back(group_json(row.group));
    add_change(list.back(), row.change);
  }
  return list;
}

ordered_json embedding_json(const EmbeddingRows& rows) {
  return {{"tensor", rows.tensor},
          {"rows", rows.rows},
          {"occurring", rows.occurring},
          {"of_occurring", change_json(rows.of_occurring)},
          {"of_others", change_json(rows.of_others)}};
}

// ---- Reading JSON

std::optional<double> optional_number(const json& row, const char* key) {
  return row.at(key).is_null() ? std::nullopt : std::optional(row.at(key).get<double>());
}

Change change_from_json(const json& row) {
  Change change{.mean_abs = row.at("mean_abs"),
                .rel_l2 = optional_number(row, "rel_l2"),
                .cosine = optional_number(row, "cosine"),
                .max_abs = row.at("max_abs"),
                .changed = row.at("changed"),
                .of_sign_walk = optional_number(row, "of_sign_walk"),
                .of_random_walk = optional_number(row, "of_random_walk")};
  if (!row.contains("quantiles")) return change;
  for (const char* key : quantile_keys) change.quantiles.push_back(row.at("quantiles").at(key));
  return change;
}

std::vector<DriftRow> rows_from_json(const json& list) {
  std::vector<DriftRow> rows;
  for (const json& row : list) rows.push_back({group_from_json(row), change_from_json(row)});
  return rows;
}

Drift read_drift(const json& document) {
  Drift drift{.before = document.at("before"),
              .after = document.at("after"),
              .before_sha256 = document.at("before_sha256"),
              .after_sha256 = document.at("after_sha256"),
              .components = rows_from_json(document.at("components")),
              .component_parts = rows_from_json(document.at("component_parts")),
              .component_layers = rows_from_json(document.at("component_layers")),
              .tensors = rows_from_json(document.at("tensors")),
              .only_before = document.at("only_before"),
              .only_after = document.at("only_after"),
              .rows_told_by = document.at("rows_told_by")};
  if (!document.at("step_sizes").is_null()) drift.step_sizes = step_sizes_from_json(document["step_sizes"]);
  for (const json& rows : document.at("embedding_rows")) {
    drift.embedding_rows.push_back({.tensor = rows.at("tensor"),
                                    .rows = rows.at("rows"),
                                    .occurring = rows.at("occurring"),
                                    .of_occurring = change_from_json(rows.at("of_occurring")),
                                    .of_others = change_from_json(rows.at("of_others"))});
  }
  for (const json& checkpoint : document.at("checkpoints")) {
    drift.checkpoints.push_back({.step = checkpoint.at("step"),
                                 .components = rows_from_json(checkpoint.at("components")),
                                 .component_layers = rows_from_json(checkpoint.at("component_layers"))});
  }
  return drift;
}

// ---- CSV

std::string csv_number(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "";
}

std::string csv_line(const std::vector<std::string>& fields) {
  return fmt::format("{}\n", fmt::join(fields, ","));
}

/// Names of tensors hold no comma or quote in any model that we know; one that does is quoted.
std::string csv_table(const std::vector<DriftRow>& rows, bool with_tensor) {
  std::vector<std::string> columns = group_columns(with_tensor);
  for (const char* column :
       {"mean_abs", "rel_l2", "cosine", "max_abs", "changed", "of_sign_walk", "of_random_walk"}) {
    columns.push_back(column);
  }
  std::string table = csv_line(columns);
  for (const DriftRow& row : rows) {
    const Change& change = row.change;
    std::vector<std::string> fields;
    for (const std::string& field : group_fields(row.group)) fields.push_back(csv_field(field));
    for (const auto& value :
         {std::optional(change.mean_abs), change.rel_l2, change.cosine, std::optional(change.max_abs),
          std::optional(change.changed), change.of_sign_walk, change.of_random_walk}) {
      fields.push_back(csv_number(value));
    }
    table += csv_line(fields);
  }
  return table;
}

}  // namespace

ordered_json to_json(const Drift& drift) {
  ordered_json document = {{"before", drift.before},
                           {"after", drift.after},
                           {"before_sha256", drift.before_sha256},
                           {"after_sha256", drift.after_sha256},
                           {"step_sizes", drift.step_sizes ? to_json(*drift.step_sizes) : ordered_json()},
                           {"only_before", drift.only_before},
                           {"only_after", drift.only_after},
                           {"rows_told_by", drift.rows_told_by},
                           {"embedding_rows", ordered_json::array()},
                           {"components", rows_json(drift.components)},
                           {"component_parts", rows_json(drift.component_parts)},
                           {"component_layers", rows_json(drift.component_layers)},
                           {"tensors", rows_json(drift.tensors)},
                           {"checkpoints", ordered_json::array()}};
  for (const EmbeddingRows& rows : drift.embedding_rows) {
    document["embedding_rows"].push_back(embedding_json(rows));
  }
  for (const DriftCheckpoint& checkpoint : drift.checkpoints) {
    document["checkpoints"].push_back({{"step", checkpoint.step},
                                       {"components", rows_json(checkpoint.components)},
                                       {"component_layers", rows_json(checkpoint.component_layers)}});
  }
  return document;
}

Drift drift_from_json(const json& document, const std::string& source) {
  try {
    return read_drift(document);
  } catch (const json::exception& error) {
    fail(ErrorKind::model, "{}: expected what `normtune drift` writes: {}", source, error.what());
  }
}

void write_drift_files(const fs::path& folder, const Drift& drift) {
  std::vector<DriftRow> pooled = drift.components;
  pooled.insert(pooled.end(), drift.component_parts.begin(), drift.component_parts.end());
  write_file_atomically(folder / "components.csv", csv_table(pooled, false));
  write_file_atomically(folder / "component_layers.csv", csv_table(drift.component_layers, false));
  write_file_atomically(folder / "tensors.csv", csv_table(drift.tensors, true));
  write_file_atomically(folder / "drift.json", to_json(drift).dump(1) + "\n");
}

}  // namespace normtune
