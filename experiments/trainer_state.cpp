#include "experiments/trainer_state.h"

#include "experiments/json_values.h"
#include "nn/json_file.h"
#include "tensor/error.h"

namespace normtune {

using nlohmann::json;

namespace {

/// Reads state keys of a known type, with the file and key in each message.
class StateReader {
 public:
  explicit StateReader(const std::filesystem::path& file)
      : file_(file.string()), state_(read_json_file(file, ErrorKind::model)) {
    if (!state_.is_object()) fail(ErrorKind::model, "{}: expected a JSON object", file_);
  }

  const json& value(const char* key) const {
    const auto found = state_.find(key);
    if (found == state_.end()) fail(ErrorKind::model, "{}: expected the key \"{}\", found none", file_, key);
    return *found;
  }
  double number(const char* key) const {
    require(value(key).is_number(), key, "a number");
    return value(key).get<double>();
  }
  int64_t integer(const char* key) const {
    require(value(key).is_number_integer(), key, "an integer");
    return value(key).get<int64_t>();
  }
  std::optional<double> number_or_null(const char* key) const {
    if (value(key).is_null()) return std::nullopt;
    return number(key);
  }
  std::optional<std::string> text_or_null(const char* key) const {
    if (value(key).is_null()) return std::nullopt;
    require(value(key).is_string(), key, "a text or null");
    return value(key).get<std::string>();
  }
  json list(const char* key) const {
    require(value(key).is_array(), key, "a list");
    return value(key);
  }

 private:
  void require(bool fits, const char* key, const char* expected) const {
    if (!fits)
      fail(ErrorKind::model, "{}: expected {} as \"{}\", found {}", file_, expected, key, value(key).dump());
  }

  std::string file_;
  json state_;
};

}  // namespace

void write_trainer_state(const TrainerState& state, const std::filesystem::path& file) {
  write_json_file(file, {{"epoch", state.epoch},
                         {"global_step", state.global_step},
                         {"max_steps", state.max_steps},
                         {"num_train_epochs", state.num_train_epochs},
                         {"total_flos", state.total_flos},
                         {"best_metric", or_null<json>(state.best_metric)},
                         {"best_model_checkpoint", or_null<json>(state.best_model_checkpoint)},
                         {"log_history", state.log_history},
                         {"is_local_process_zero", true},
                         {"is_world_process_zero", true},
                         {"is_hyper_param_search", false},
                         {"trial_name", nullptr},
                         {"trial_params", nullptr}});
}

TrainerState read_trainer_state(const std::filesystem::path& file) {
  const StateReader reader(file);
  return {.epoch = reader.number("epoch"),
          .global_step = reader.integer("global_step"),
          .max_steps = reader.integer("max_steps"),
          .num_train_epochs = reader.number("num_train_epochs"),
          .total_flos = reader.number("total_flos"),
          .best_metric = reader.number_or_null("best_metric"),
          .best_model_checkpoint = reader.text_or_null("best_model_checkpoint"),
          .log_history = reader.list("log_history")};
}

void write_results(const std::filesystem::path& folder, const std::string& name, const json& values) {
  check(values.is_object(), "write_results: expected an object");
  write_json_file(folder / (name + "_results.json"), values);
}

}  // namespace normtune
