#include "experiments/run_store.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <string_view>

#include "experiments/checkpoint_folder.h"
#include "experiments/finetune_options.h"
#include "experiments/run_folder.h"
#include "nn/atomic_file.h"
#include "nn/json_file.h"
#include "nn/mapped_file.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

/// What a finished run keeps; hidden files are locks.
constexpr std::array<std::string_view, 8> kept_names = {
    "run.json",   "all_results.json", "metrics.jsonl", "predictions.jsonl", "predictions_mm.jsonl",
    "drift.json", "fisher.json",      "outcomes.json"};

bool is_kept(const std::string& name) {
  if (name == ".compare.lock") return true;  // goes with the lock
  return std::find(kept_names.begin(), kept_names.end(), name) != kept_names.end();
}

void remove_entry(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail(ErrorKind::write, "{}: cannot remove: {}", path.string(), error.message());
}

/// An argument without the folders in front of a path: what was run, wherever the files lay.
std::string without_folders(const std::string& argument) {
  const size_t equals = argument.find('=');
  const size_t slash = argument.find_last_not_of('/');
  const size_t last = argument.rfind('/', slash);
  if (last == std::string::npos) return argument;
  const std::string name = argument.substr(last + 1, slash - last);
  return equals < last ? argument.substr(0, equals + 1) + name : name;
}

/// All options that numbers follow from, those with default values too.
json named_options(const FinetuneOptions& options) {
  json named = json::object();
  const ordered_json all = options_json(options);
  for (const auto& [name, value] : all.items()) {
    if (changes_numbers(name)) named[name] = value;
  }
  return named;
}

/// The scores among results, whatever else they say.
json scores_of(const json& results) {
  json scores = json::object();
  for (const auto& [name, value] : results.items()) {
    const bool is_rate = name.ends_with("_per_second") || name == "eval_runtime";
    if (name.starts_with("eval_") && !is_rate) scores[name] = value;
  }
  return scores;
}

/// The first line of a log repeats the options with their paths, which run.json has without.
void shorten_metrics_log(const fs::path& file) {
  if (!fs::exists(file)) return;
  const std::string text = read_file(file, ErrorKind::data);
  std::string shortened;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.find("\"kind\":\"start\"") != std::string::npos) {
      ordered_json fields = ordered_json::parse(line);
      fields.erase("config");
      fields.erase("data_sha256");
      line = fields.dump();
    }
    shortened += line + "\n";
    begin = end + 1;
  }
  if (shortened != text) write_file_atomically(file, shortened);
}

}  // namespace

json read_run_file(const fs::path& file) {
  const char* remedy = "remove the folder to repeat the run";
  try {
    json document = read_json_file(file, ErrorKind::data);
    if (document.is_object()) return document;
  } catch (const Error& error) {
    fail(ErrorKind::data, "{}; {}", error.what(), remedy);
  }
  fail(ErrorKind::data, "{}: expected an object, found something else; {}", file.string(), remedy);
}

const char* state_name(RunState state) {
  switch (state) {
    case RunState::missing:
      return "missing";
    case RunState::interrupted:
      return "interrupted";
    case RunState::failed:
      return "failed";
    case RunState::finished:
      break;
  }
  return "finished";
}

std::optional<double> RunResult::score(const std::string& split, const std::string& metric) const {
  const json& scores = evaluations.at(split);
  const auto value = [&](const std::string& name) -> std::optional<double> {
    const json& number = scores.at("eval_" + name);
    return number.is_number() ? std::optional<double>(number.get<double>()) : std::nullopt;
  };
  if (scores.contains("eval_" + metric)) return value(metric);
  if (metric == "mean_accuracy" && scores.contains("eval_accuracy")) {
    if (!scores.contains("eval_accuracy_mm")) return value("accuracy");
    const auto matched = value("accuracy"), mismatched = value("accuracy_mm");
    if (matched && mismatched) return (*matched + *mismatched) / 2;
    return std::nullopt;
  }
  if (metric == "mean_accuracy" && scores.contains("eval_accuracy_mm")) return value("accuracy_mm");
  fail(ErrorKind::data, "a finished run has no score eval_{} on {}; remove its folder to repeat it", metric,
       split);
}

std::vector<std::string> RunFolder::missing_measurements() const {
  std::vector<std::string> missing;
  for (const std::string& name : run_.measurements) {
    if (!fs::exists(path_ / name)) missing.push_back(name);
  }
  return missing;
}

void RunFolder::remove_measurements() const {
  for (const char* name : {"drift.json", "fisher.json", "outcomes.json"}) remove_entry(path_ / name);
}

bool RunFolder::lacks_measurements() const {
  return fs::exists(path_ / "run.json") && !missing_measurements().empty();
}

void RunFolder::keep_measurement(const std::string& measurement) const {
  json document = read_json_file(printed(measurement), ErrorKind::data);
  document.erase("tensors");
  for (const char* folder : {"before", "after", "model"}) {
    if (document.contains(folder) && document[folder].is_string()) {
      document[folder] = without_folders(document[folder]);
    }
  }
  write_file_atomically(path_ / measurement, document.dump() + "\n");
  remove_entry(printed(measurement));
}

RunState RunFolder::state() const {
  if (lacks_measurements()) return RunState::missing;
  if (fs::exists(path_ / "run.json")) return RunState::finished;
  if (fs::exists(path_ / "failure.json")) return RunState::failed;
  return checkpoint_steps(path_).empty() ? RunState::missing : RunState::interrupted;
}

std::optional<RunResult> RunFolder::result() const {
  const fs::path file = path_ / "run.json";
  if (state() != RunState::finished) return std::nullopt;
  const json document = read_run_file(file);
  try {
    if (document.at("id") != run_.id) {
      fail(ErrorKind::data, "{}: expected the run {}, found {}", file.string(), run_.id,
           document.at("id").dump());
    }
    return RunResult{.evaluations = document.at("evaluations"),
                     .trainable_parameters = document.at("trainable_parameters"),
                     .total_parameters = document.at("total_parameters"),
                     .train_seconds = document.at("train_seconds"),
                     .degenerate = document.value("degenerate", false)};
  } catch (const json::exception& error) {
    fail(ErrorKind::data, "{}: malformed ({}); remove the folder to repeat the run", file.string(),
         error.what());
  }
}

std::optional<RunFailure> RunFolder::failure() const {
  const fs::path file = path_ / "failure.json";
  if (!fs::exists(file)) return std::nullopt;
  const json document = read_run_file(file);
  return RunFailure{.exit_code = document.value("exit_code", 1), .error = document.value("error", "")};
}

void RunFolder::finish(const std::vector<std::string>& command, const std::string& program_version,
                       const std::string& report_split, bool keep_model) const {
  const json all = read_json_file(path_ / "all_results.json", ErrorKind::data);
  json evaluations = {{"dev", scores_of(all)}};
  if (report_split != "dev") {
    evaluations[report_split] = scores_of(read_json_file(evaluation(), ErrorKind::data));
  }
  std::vector<std::string> short_command;
  for (const std::string& argument : command) short_command.push_back(without_folders(argument));
  write_json_file(path_ / "run.json", {{"id", run_.id},
                                       {"row", run_.row},
                                       {"method", run_.options.method.method},
                                       {"untrained", run_.options.random_init},
                                       {"task", run_.task},
                                       {"metric", run_.metric},
                                       {"seed", run_.options.seed},
                                       {"learning_rate", run_.options.learning_rate},
                                       {"identity", run_.identity},
                                       {"options", named_options(run_.options)},
                                       {"evaluations", evaluations},
                                       {"degenerate", all.value("degenerate", false)},
                                       {"trainable_parameters", all.at("trainable_parameters")},
                                       {"total_parameters", all.at("total_parameters")},
                                       {"train_seconds", all.at("train_runtime")},
                                       {"keeps_model", keep_model},
                                       {"command", short_command},
                                       {"program", program_version}});
  clean();
}

std::vector<fs::path> RunFolder::surplus_files() const {
  if (read_run_file(path_ / "run.json").value("keeps_model", false)) return {};
  std::vector<fs::path> surplus;
  for (const fs::directory_entry& entry : fs::directory_iterator(path_)) {
    if (!is_kept(entry.path().filename().string())) surplus.push_back(entry.path());
  }
  return surplus;
}

bool RunFolder::needs_cleaning() const {
  return !surplus_files().empty();
}

void RunFolder::clean() const {
  for (const fs::path& file : {log(), evaluation(), path_ / "failure.json"}) remove_entry(file);
  const std::vector<fs::path> surplus = surplus_files();
  if (!surplus.empty()) shorten_metrics_log(path_ / "metrics.jsonl");
  for (const fs::path& path : surplus) remove_entry(path);
}

void RunFolder::write_failure(const RunFailure& failure) const {
  write_json_file(path_ / "failure.json", {{"exit_code", failure.exit_code},
                                           {"error", failure.error},
                                           {"row", run_.row},
                                           {"task", run_.task},
                                           {"seed", run_.options.seed},
                                           {"learning_rate", run_.options.learning_rate}});
}

void RunFolder::clear() const {
  remove_run_files(path_);
  remove_measurements();
  for (const fs::path& file : {log(), evaluation(), path_ / "failure.json", path_ / "run.json"}) {
    remove_entry(file);
  }
}

}  // namespace normtune
