#include "experiments/step_sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>

#include "nn/json_fields.h"
#include "nn/json_file.h"
#include "nn/lr_schedule.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

/// What a folder tells of its run.
struct Records {
  json state;   // trainer_state.json
  json config;  // of the start line of metrics.jsonl; an empty object if there is none
  json evaluations = json::array();
  std::string base_sha256;
  bool began_with_drawn_weights = false;
};

void read_log(const fs::path& file, Records& records) {
  std::ifstream stream(file);
  int64_t number = 0;
  for (std::string text; std::getline(stream, text);) {
    const json line = parse_json(text, file.string(), ErrorKind::model, ++number);
    const std::string kind = line.is_object() ? line.value("kind", "") : "";
    if (kind == "start" && line.contains("config")) records.config = line["config"];
    if (kind == "start") {
      records.base_sha256 = line.value("base_model_sha256", "");
      records.began_with_drawn_weights = line.contains("base_model_sha256") && records.base_sha256.empty();
    }
    if (kind == "eval") records.evaluations.push_back(line);
  }
}

std::optional<Records> read_run_records(const fs::path& folder) {
  if (!fs::exists(folder / "trainer_state.json")) return std::nullopt;
  Records records{.state = read_json_file(folder / "trainer_state.json", ErrorKind::model),
                  .config = json::object()};
  for (const fs::path& place : {folder, folder.parent_path()}) {
    if (!fs::exists(place / "metrics.jsonl")) continue;
    read_log(place / "metrics.jsonl", records);
    break;
  }
  return records;
}

/// The update after which the folder's model was taken: the last one, unless the best one was loaded.
int64_t steps_of(const Records& records, const fs::path& folder) {
  const JsonFields fields(records.state, (folder / "trainer_state.json").string(), ErrorKind::model);
  const int64_t last = fields.integer("global_step", 0, std::numeric_limits<int64_t>::max());
  const bool is_checkpoint = !fs::exists(folder / "metrics.jsonl");
  if (is_checkpoint || !records.config.value("load_best_model_at_end", false) || !fields.has("best_metric")) {
    return last;
  }
  const json& best = records.state["best_metric"];
  for (const json& line : records.evaluations) {
    for (const auto& [key, value] : line.items()) {
      if (key.starts_with("eval_") && value == best) return line.value("step", last);
    }
  }
  return last;
}

/// The schedule that our own runs follow; nothing if it depended on the time.
std::optional<std::vector<double>> scheduled_rates(const Records& records, int64_t steps) {
  const json& config = records.config;
  if (!config.contains("lr_scheduler_type") || config.value("time_limit", 0.0) > 0) return std::nullopt;
  const int64_t total = records.state.value("max_steps", int64_t{0});
  const LearningRateSchedule schedule{.kind = find_schedule(config["lr_scheduler_type"].get<std::string>()),
                                      .warmup_steps = warmup_length(config.value("warmup_steps", int64_t{0}),
                                                                    config.value("warmup_ratio", 0.0), total),
                                      .total_steps = total};
  const double peak = config.value("learning_rate", 0.0);
  std::vector<double> rates;
  for (int64_t step = 0; step < steps; ++step) rates.push_back(peak * schedule.factor(step));
  return rates;
}

/// The rate at `step` on the straight line through two logged points.
double on_line(std::pair<double, double> a, std::pair<double, double> b, double step) {
  const double slope = b.first == a.first ? 0 : (b.second - a.second) / (b.first - a.first);
  return std::max(0.0, a.second + slope * (step - a.first));
}

/// From the logged points; before the first and after the last one their neighbours' line goes on.
std::vector<double> logged_rates(const Records& records, int64_t steps) {
  std::vector<std::pair<double, double>> points;  // step, learning rate
  for (const json& entry : records.state.value("log_history", json::array())) {
    if (!entry.contains("learning_rate") || !entry.contains("step")) continue;
    points.push_back({entry["step"].get<double>(), entry["learning_rate"].get<double>()});
  }
  std::sort(points.begin(), points.end());
  std::vector<double> rates;
  for (int64_t step = 1; step <= steps && !points.empty(); ++step) {
    const auto at = static_cast<double>(step);
    auto next = std::upper_bound(points.begin(), points.end(), std::pair(at, -1.0));
    next = std::clamp(next, std::min(points.begin() + 1, points.end() - 1), points.end() - 1);
    rates.push_back(on_line(next == points.begin() ? *next : *(next - 1), *next, at));
  }
  return rates;
}

std::string reason_without_walk(const Records& records) {
  if (records.began_with_drawn_weights) return "the run began with weights drawn at random, not with BEFORE";
  const json& config = records.config;
  const std::string optimizer = config.value("optim", "adamw_torch");
  const std::string method = config.value("method", "");
  if (optimizer == "sgd") return "SGD moves an element by lr times its gradient, not by lr";
  if (method == "lora") return "LoRA moves the product of two matrices, not the weights themselves";
  return "";
}

}  // namespace

double StepSizes::random_walk() const {
  return std::sqrt(2 * std::numbers::inv_pi * sum_sq_lr);
}

std::optional<StepSizes> read_step_sizes(const fs::path& folder) {
  const std::optional<Records> records = read_run_records(folder);
  if (!records) return std::nullopt;
  try {
    StepSizes sizes{.optimizer = records->config.value("optim", ""),
                    .steps = steps_of(*records, folder),
                    .base_sha256 = records->base_sha256,
                    .no_walk_because = reason_without_walk(*records)};
    std::optional<std::vector<double>> rates = scheduled_rates(*records, sizes.steps);
    if (!rates) rates = logged_rates(*records, sizes.steps);
    if (rates->empty()) return std::nullopt;
    for (const double rate : *rates) {
      sizes.max_lr = std::max(sizes.max_lr, rate);
      sizes.sum_lr += rate;
      sizes.sum_sq_lr += rate * rate;
    }
    return sizes;
  } catch (const json::exception& error) {
    fail(ErrorKind::model, "{}: its trainer_state.json or metrics.jsonl is malformed: {}", folder.string(),
         error.what());
  }
}

nlohmann::ordered_json to_json(const StepSizes& steps) {
  return {{"optimizer", steps.optimizer},
          {"steps", steps.steps},
          {"max_lr", steps.max_lr},
          {"sum_lr", steps.sum_lr},
          {"sum_sq_lr", steps.sum_sq_lr},
          {"sign_walk", steps.sign_walk()},
          {"random_walk", steps.random_walk()},
          {"base_sha256", steps.base_sha256},
          {"no_walk_because", steps.no_walk_because}};
}

StepSizes step_sizes_from_json(const json& value) {
  return {.optimizer = value.at("optimizer"),
          .steps = value.at("steps"),
          .max_lr = value.at("max_lr"),
          .sum_lr = value.at("sum_lr"),
          .sum_sq_lr = value.at("sum_sq_lr"),
          .base_sha256 = value.at("base_sha256"),
          .no_walk_because = value.at("no_walk_because")};
}

}  // namespace normtune
