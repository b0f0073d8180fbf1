#include "experiments/checkpoint_folder.h"

#include <algorithm>
#include <charconv>

#include "experiments/json_values.h"
#include "nn/json_file.h"
#include "nn/safetensors.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::string_view checkpoint_prefix = "checkpoint-";
constexpr const char* tensors_name = "training_state.safetensors";
constexpr const char* state_file_name = "training_state.json";
constexpr const char* moment_suffixes[] = {".exp_avg", ".exp_avg_sq"};

void remove_checkpoint(const fs::path& run_folder, int64_t step) {
  // Renamed first, so that a kill between the files leaves no checkpoint that lacks some.
  const fs::path path = checkpoint_path(run_folder, step), removed = path.string() + ".tmp";
  std::error_code error;
  fs::remove_all(removed, error);
  fs::rename(path, removed, error);
  if (!error) fs::remove_all(removed, error);
  if (error) fail(ErrorKind::write, "{}: cannot remove: {}", path.string(), error.message());
}

/// Copies the listed elements out of a tensor.
Tensor gather_elements(const Tensor& tensor, const Tensor& indices) {
  const std::vector<int64_t> positions = indices.to_vector<int64_t>();
  return dispatch_floating(tensor.dtype(), [&]<typename T>() {
    const std::vector<T> values = tensor.to_vector<T>();
    std::vector<T> gathered;
    for (const int64_t position : positions) gathered.push_back(values[static_cast<size_t>(position)]);
    return Tensor::from_values(indices.shape(), gathered);
  });
}

void scatter_elements(const Tensor& values, const Tensor& indices, Tensor tensor) {
  const std::vector<int64_t> positions = indices.to_vector<int64_t>();
  dispatch_floating(tensor.dtype(), [&]<typename T>() {
    std::vector<T> all = tensor.to_vector<T>();
    const std::vector<T> changed = values.to_vector<T>();
    for (size_t i = 0; i < positions.size(); ++i) all[static_cast<size_t>(positions[i])] = changed[i];
    tensor.copy_from(Tensor::from_values(tensor.shape(), all));
  });
}

const Tensor& find_value(const std::vector<NamedTensor>& values, const TrainableTensor& trainable,
                         const std::string& source) {
  const Shape shape =
      trainable.indices.defined() ? trainable.indices.shape() : trainable.variable.tensor().shape();
  for (const NamedTensor& value : values) {
    if (value.name != trainable.name) continue;
    if (value.tensor.shape() != shape || value.tensor.dtype() != trainable.variable.dtype()) {
      fail(ErrorKind::model, "{}: tensor '{}': expected {} {}, found {} {}", source, trainable.name,
           to_string(trainable.variable.dtype()), shape, to_string(value.tensor.dtype()),
           value.tensor.shape());
    }
    return value.tensor;
  }
  fail(ErrorKind::model, "{}: expected a tensor '{}', found none", source, trainable.name);
}

bool is_moment(const std::string& name) {
  return std::any_of(std::begin(moment_suffixes), std::end(moment_suffixes),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

template <typename T>
std::optional<T> optional_value(const json& value) {
  return value.is_null() ? std::nullopt : std::optional<T>(value.get<T>());
}

json to_json(const TrainingState& state) {
  return {{"run", state.run},
          {"options", state.options},
          {"step", state.step},
          {"evaluated", state.evaluated},
          {"loss_sum", state.loss_sum},
          {"loss_count", state.loss_count},
          {"total_loss", state.total_loss},
          {"total_flos", state.total_flos},
          {"best_score", or_null<json>(state.best_score)},
          {"best_step", or_null<json>(state.best_step)},
          {"evaluations_without_gain", state.evaluations_without_gain},
          {"seconds", state.seconds},
          {"log_history", state.log_history}};
}

TrainingState from_json(const json& document) {
  return {.run = document.at("run").get<std::string>(),
          .options = document.at("options").get<json::object_t>(),
          .step = document.at("step").get<int64_t>(),
          .evaluated = document.at("evaluated").get<bool>(),
          .loss_sum = document.at("loss_sum").get<double>(),
          .loss_count = document.at("loss_count").get<int64_t>(),
          .total_loss = document.at("total_loss").get<double>(),
          .total_flos = document.at("total_flos").get<double>(),
          .best_score = optional_value<double>(document.at("best_score")),
          .best_step = optional_value<int64_t>(document.at("best_step")),
          .evaluations_without_gain = document.at("evaluations_without_gain").get<int64_t>(),
          .seconds = document.at("seconds").get<double>(),
          .log_history = document.at("log_history").get<json::array_t>()};
}

}  // namespace

std::optional<int64_t> checkpoint_step(std::string_view folder_name) {
  if (!folder_name.starts_with(checkpoint_prefix)) return std::nullopt;
  folder_name.remove_prefix(checkpoint_prefix.size());
  int64_t step = -1;
  const char* end = folder_name.data() + folder_name.size();
  const auto parsed = std::from_chars(folder_name.data(), end, step);
  if (parsed.ec != std::errc() || parsed.ptr != end || step < 0) return std::nullopt;
  return step;
}

fs::path checkpoint_path(const fs::path& run_folder, int64_t step) {
  return run_folder / fmt::format("{}{}", checkpoint_prefix, step);
}

std::vector<int64_t> checkpoint_steps(const fs::path& run_folder) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(run_folder, error)) {
    const std::optional<int64_t> step = checkpoint_step(entry.path().filename().string());
    if (step && entry.is_directory(error)) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

void remove_old_checkpoints(const fs::path& run_folder, int64_t limit) {
  if (limit <= 0) return;
  const std::vector<int64_t> steps = checkpoint_steps(run_folder);
  for (size_t i = 0; i + static_cast<size_t>(limit) < steps.size(); ++i) {
    remove_checkpoint(run_folder, steps[i]);
  }
}

void remove_later_checkpoints(const fs::path& run_folder, int64_t step) {
  for (const int64_t other : checkpoint_steps(run_folder)) {
    if (other > step) remove_checkpoint(run_folder, other);
  }
}

std::vector<NamedTensor> trainable_values(const std::vector<TrainableTensor>& tensors) {
  std::vector<NamedTensor> values;
  for (const TrainableTensor& trainable : tensors) {
    const Tensor& tensor = trainable.variable.tensor();
    values.push_back(
        {trainable.name, trainable.indices.defined() ? gather_elements(tensor, trainable.indices) : tensor});
  }
  return values;
}

void set_trainable_values(const std::vector<TrainableTensor>& tensors, const std::vector<NamedTensor>& values,
                          const std::string& source) {
  for (const TrainableTensor& trainable : tensors) {
    const Tensor& value = find_value(values, trainable, source);
    Tensor tensor = trainable.variable.tensor();
    if (trainable.indices.defined()) {
      scatter_elements(value, trainable.indices, tensor);
    } else {
      tensor.copy_from(value);
    }
  }
}

void write_training_state(const fs::path& folder, const TrainingState& state, const Optimizer& optimizer) {
  std::vector<NamedTensor> tensors = trainable_values(optimizer.tensors());
  for (NamedTensor& moment : optimizer.state()) tensors.push_back(std::move(moment));
  write_safetensors(folder / tensors_name, tensors);
  write_json_file(folder / state_file_name, to_json(state));
}

TrainingState read_training_state(const fs::path& folder) {
  const fs::path file = folder / state_file_name;
  const json document = read_json_file(file, ErrorKind::model);
  try {
    return from_json(document);
  } catch (const json::exception& error) {
    fail(ErrorKind::model, "{}: is not the state of a training: {}", file.string(), error.what());
  }
}

void restore_training_tensors(const fs::path& folder, int64_t step, Optimizer& optimizer) {
  const fs::path path = folder / tensors_name;
  const SafetensorsFile file(path);
  std::vector<NamedTensor> values, moments;
  for (const std::string& name : file.names()) {
    (is_moment(name) ? moments : values).push_back({name, file.read(name)});
  }
  if (values.size() != optimizer.tensors().size()) {
    fail(ErrorKind::model, "{}: expected {} trainable tensors, found {}", path.string(),
         optimizer.tensors().size(), values.size());
  }
  set_trainable_values(optimizer.tensors(), values, path.string());
  optimizer.load_state(moments, step);
}

}  // namespace normtune
