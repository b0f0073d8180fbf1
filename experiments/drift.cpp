#include "experiments/drift.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "experiments/checkpoint_folder.h"
#include "experiments/model_folder.h"
#include "nn/printable.h"
#include "nn/safetensors_writer.h"
#include "nn/tensor_file.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

using Histograms = std::map<const ComponentGroup*, MagnitudeHistogram>;

/// The tensors that two folders share, and the rest.
struct CommonTensors {
  std::vector<TensorSize> tensors;
  std::vector<std::string> only_before, only_after;
};

CommonTensors find_common(const ModelFolder& before, const ModelFolder& after) {
  CommonTensors common;
  for (const std::string& name : before.names()) {
    if (!after.contains(name)) {
      common.only_before.push_back(name);
      continue;
    }
    if (!(before.shape(name) == after.shape(name))) {
      fail(ErrorKind::model, "tensor {}: {} has shape {}, {} has {}; expected two versions of one model",
           printable(name), before.path().string(), before.shape(name), after.path().string(),
           after.shape(name));
    }
    common.tensors.push_back({name, before.shape(name).numel()});
  }
  for (const std::string& name : after.names()) {
    if (!before.contains(name)) common.only_after.push_back(name);
  }
  if (common.tensors.empty()) {
    fail(ErrorKind::model, "{} and {} have no tensor in common; expected two versions of one model",
         before.path().string(), after.path().string());
  }
  return common;
}

Change change_of(const ChangeSums& sums, const std::optional<StepSizes>& steps) {
  Change change{.mean_abs = sums.mean_abs(),
                .rel_l2 = sums.rel_l2(),
                .cosine = sums.cosine(),
                .max_abs = sums.max_abs,
                .changed = sums.changed_share()};
  if (steps && steps->walks()) {
    change.of_sign_walk = change.mean_abs / steps->sign_walk();
    change.of_random_walk = change.mean_abs / steps->random_walk();
  }
  return change;
}

/// The rows of one list; `sums` are those of the tensors that were grouped.
std::vector<DriftRow> make_rows(const std::vector<ComponentGroup>& groups,
                                const std::vector<ChangeSums>& sums, const std::optional<StepSizes>& steps) {
  std::vector<DriftRow> rows;
  for (const ComponentGroup& group : groups) {
    ChangeSums total;
    for (const size_t member : group.members) total.add(sums[member]);
    rows.push_back({group, change_of(total, steps)});
  }
  return rows;
}

void require_finite(const ChangeSums& sums, const std::string& name, const fs::path& before,
                    const fs::path& after) {
  if (std::isfinite(sums.sq_before) && std::isfinite(sums.sq_after)) return;
  fail(ErrorKind::model, "{}: tensor {}: holds a value that is not finite; nothing can be said of its change",
       (std::isfinite(sums.sq_before) ? after : before).string(), printable(name));
}

/// Compares two folders tensor by tensor.
class Measurement {
 public:
  Measurement(const ModelFolder& before, const ModelFolder& after, const DriftOptions& options)
      : before_(before), after_(after), options_(options), common_(find_common(before, after)) {
    lists_ = group_by_component(common_.tensors);
    sums_.resize(common_.tensors.size());
    for (const auto* groups : {&lists_.components, &lists_.component_parts}) {
      for (const ComponentGroup& group : *groups) {
        for (const size_t member : group.members) pools_[common_.tensors[member].name].push_back(&group);
        histograms_[&group];
      }
    }
    for (size_t i = 0; i < common_.tensors.size(); ++i) places_[common_.tensors[i].name] = i;
  }

  Drift run(const std::optional<StepSizes>& steps);
  DriftCheckpoint run_checkpoint(int64_t step, const std::optional<StepSizes>& steps);

 private:
  struct Versions {
    Tensor before, after;
  };
  Versions read(const std::string& name) const;
  void measure_all(const std::string& before_sha256);
  ChangeSums measure(const std::string& name, const Versions& versions, Tensor* change);
  void split_rows(const std::string& name, const Versions& versions);
  bool occurs(const std::string& component, int64_t row, const ChangeSums& change) const;
  void add_quantiles(std::vector<DriftRow>& rows, const std::vector<ComponentGroup>& groups) const;

  const ModelFolder& before_;
  const ModelFolder& after_;
  const DriftOptions& options_;
  CommonTensors common_;
  ComponentLists lists_;
  std::vector<ChangeSums> sums_;  // of common_.tensors
  std::map<std::string, size_t> places_;
  std::map<std::string, std::vector<const ComponentGroup*>> pools_;  // that a tensor belongs to
  Histograms histograms_;

  struct RowSums {
    int64_t rows = 0, occurring = 0;
    ChangeSums of_occurring, of_others;
  };
  std::map<std::string, RowSums> row_sums_;
};

/// In one dtype, on the device that measures.
Measurement::Versions Measurement::read(const std::string& name) const {
  const Tensor before = before_.read(name), after = after_.read(name);
  const bool wide = before.dtype() == DType::float64 || after.dtype() == DType::float64;
  const DType dtype = wide ? DType::float64 : DType::float32;
  const Device device = wide ? Device{} : options_.device;  // float64 is there on the CPU alone
  return {before.to(dtype).to(device), after.to(dtype).to(device)};
}

ChangeSums Measurement::measure(const std::string& name, const Versions& versions, Tensor* change) {
  MagnitudeHistogram histogram;
  const ChangeSums sums = measure_change(versions.before, versions.after, &histogram, change);
  require_finite(sums, name, before_.path(), after_.path());
  for (const ComponentGroup* group : pools_[name]) histograms_[group].add(histogram);
  const ComponentGroup& group = *pools_[name].front();
  const bool is_table = group.component.starts_with("embeddings.") &&
                        group.component.ends_with("_embeddings") && versions.before.shape().rank() == 2;
  if (is_table) split_rows(name, versions);
  return sums;
}

bool Measurement::occurs(const std::string& component, int64_t row, const ChangeSums& change) const {
  if (!options_.occurring) return change.changed > 0;
  const OccurringRows& occurring = *options_.occurring;
  if (component == "embeddings.position_embeddings") return row < occurring.num_positions;
  if (component == "embeddings.token_type_embeddings") return row < occurring.num_token_types;
  return row < static_cast<int64_t>(occurring.tokens.size()) && occurring.tokens[static_cast<size_t>(row)];
}

void Measurement::split_rows(const std::string& name, const Versions& versions) {
  RowSums& sums = row_sums_[name];
  for (const ChangeSums& row : measure_row_changes(versions.before, versions.after)) {
    const bool found = occurs(pools_[name].front()->component, sums.rows++, row);
    sums.occurring += found;
    (found ? sums.of_occurring : sums.of_others).add(row);
  }
}

void Measurement::measure_all(const std::string& before_sha256) {
  const auto measure_one = [&](const std::string& name, bool keep) {
    Tensor change;
    sums_[places_[name]] = measure(name, read(name), keep ? &change : nullptr);
    return keep ? change.to(Device{}) : Tensor();
  };
  if (options_.element_file.empty()) {
    for (const TensorSize& tensor : common_.tensors) measure_one(tensor.name, false);
    return;
  }
  std::vector<TensorOutline> outlines;
  for (const TensorSize& tensor : common_.tensors) {
    outlines.push_back({tensor.name, DType::float32, before_.shape(tensor.name)});
  }
  write_safetensors_one_by_one(options_.element_file, outlines,
                               [&](const TensorOutline& outline) { return measure_one(outline.name, true); },
                               {{"kind", "drift"}, {"base_model_sha256", before_sha256}});
}

void Measurement::add_quantiles(std::vector<DriftRow>& rows,
                                const std::vector<ComponentGroup>& groups) const {
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const double q : drift_quantiles) {
      rows[i].change.quantiles.push_back(
          std::min(histograms_.at(&groups[i]).quantile(q), rows[i].change.max_abs));
    }
  }
}

Drift Measurement::run(const std::optional<StepSizes>& steps) {
  Drift drift{.before = before_.path().string(),
              .after = after_.path().string(),
              .before_sha256 = before_.weights_sha256(),
              .after_sha256 = after_.weights_sha256(),
              .only_before = common_.only_before,
              .only_after = common_.only_after,
              .step_sizes = steps};
  measure_all(drift.before_sha256);
  drift.components = make_rows(lists_.components, sums_, steps);
  drift.component_parts = make_rows(lists_.component_parts, sums_, steps);
  drift.component_layers = make_rows(lists_.component_layers, sums_, steps);
  drift.tensors = make_rows(lists_.tensors, sums_, steps);
  add_quantiles(drift.components, lists_.components);
  add_quantiles(drift.component_parts, lists_.component_parts);
  for (const ComponentGroup& group : lists_.tensors) {
    const auto found = row_sums_.find(group.tensor);
    if (found == row_sums_.end()) continue;
    const RowSums& sums = found->second;
    drift.embedding_rows.push_back({.tensor = group.tensor,
                                    .rows = sums.rows,
                                    .occurring = sums.occurring,
                                    .of_occurring = change_of(sums.of_occurring, steps),
                                    .of_others = change_of(sums.of_others, steps)});
  }
  drift.rows_told_by = options_.occurring ? options_.occurring->source : "rows with a changed element";
  return drift;
}

DriftCheckpoint Measurement::run_checkpoint(int64_t step, const std::optional<StepSizes>& steps) {
  for (const TensorSize& tensor : common_.tensors) {
    const Versions versions = read(tensor.name);
    const ChangeSums sums = measure_change(versions.before, versions.after);
    require_finite(sums, tensor.name, before_.path(), after_.path());
    sums_[places_[tensor.name]] = sums;
  }
  return {.step = step,
          .components = make_rows(lists_.components, sums_, steps),
          .component_layers = make_rows(lists_.component_layers, sums_, steps)};
}

/// The run's learning rates say something of the change only if the run began with `before`.
std::optional<StepSizes> step_sizes_from(const ModelFolder& before, const fs::path& folder) {
  std::optional<StepSizes> steps = read_step_sizes(folder);
  if (steps && !steps->base_sha256.empty() && steps->base_sha256 != before.weights_sha256()) {
    steps->no_walk_because = "the run began with other weights than BEFORE";
  }
  return steps;
}

bool has_weights(const fs::path& folder) {
  return first_present(folder, {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                "pytorch_model.bin.index.json"})
      .has_value();
}

/// The checkpoints of a run; with `options.checkpoints` there must be some.
std::vector<int64_t> steps_to_measure(const fs::path& run, const DriftOptions& options) {
  if (!options.checkpoints) return {};
  std::vector<int64_t> steps;
  if (fs::is_directory(run)) steps = checkpoint_steps(run);
  if (steps.empty()) {
    fail(ErrorKind::model,
         "{}: has no checkpoint-N/; expected a run's folder with --checkpoints (finetune keeps more of them "
         "with --save_total_limit)",
         run.string());
  }
  return steps;
}

}  // namespace

Drift measure_drift(const fs::path& before, const fs::path& after, const DriftOptions& options) {
  const std::vector<int64_t> steps = steps_to_measure(after, options);
  const ModelFolder reference(before);
  const bool use_last_checkpoint = !steps.empty() && !has_weights(after);
  const fs::path folder = use_last_checkpoint ? checkpoint_path(after, steps.back()) : after;
  const ModelFolder changed(folder);
  Drift drift = Measurement(reference, changed, options).run(step_sizes_from(reference, folder));
  for (const int64_t step : steps) {
    const ModelFolder checkpoint(checkpoint_path(after, step));
    drift.checkpoints.push_back(Measurement(reference, checkpoint, options)
                                    .run_checkpoint(step, step_sizes_from(reference, checkpoint.path())));
  }
  return drift;
}

std::vector<DriftRow> ranked(std::vector<DriftRow> rows) {
  std::erase_if(rows, [](const DriftRow& row) { return row.group.rounding_noise; });
  std::stable_sort(rows.begin(), rows.end(), [](const DriftRow& a, const DriftRow& b) {
    return a.change.mean_abs > b.change.mean_abs;
  });
  return rows;
}

}  // namespace normtune
