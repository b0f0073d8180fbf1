#include "experiments/run_log.h"

#include <string_view>

namespace normtune {

using nlohmann::ordered_json;

RunLog::RunLog(const std::filesystem::path& folder, const std::string& run)
    : metrics_(folder / "metrics.jsonl", run), events_(folder) {}

void RunLog::write(const std::string& kind, const ordered_json& fields) {
  metrics_.write(kind, fields);
}

void RunLog::write_step(const ordered_json& fields, const ordered_json& extra, nlohmann::json& log_history) {
  ordered_json line = fields;
  line.update(extra);
  metrics_.write("step", line);
  add_scalars("train", fields);
  log_history.push_back(nlohmann::json(fields));
}

void RunLog::write_evaluation(const ordered_json& fields, nlohmann::json& log_history) {
  metrics_.write("eval", fields);
  add_scalars("eval", fields);
  log_history.push_back(nlohmann::json(fields));
}

/// Tags such as train/loss and eval/accuracy; TensorBoard has the step beside every value already.
void RunLog::add_scalars(const std::string& group, const ordered_json& fields) {
  constexpr std::string_view prefix = "eval_";
  const int64_t step = fields.at("step").get<int64_t>();
  for (const auto& [key, value] : fields.items()) {
    if (key == "step" || !value.is_number()) continue;
    const std::string name = key.starts_with(prefix) ? key.substr(prefix.size()) : key;
    events_.add_scalar(group + "/" + name, value.get<double>(), step);
  }
}

}  // namespace normtune
