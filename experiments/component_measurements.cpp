#include "experiments/component_measurements.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "experiments/run_store.h"
#include "tensor/error.h"

namespace normtune {

using nlohmann::json;

namespace {

/// What is read of each kind of measurement; the first ranks.
const std::vector<std::string>& value_names(std::string_view quantity) {
  static const std::vector<std::string> drift = {"mean_abs", "rel_l2", "of_sign_walk"},
                                        fisher = {"mean", "sum", "max"};
  return quantity == "drift" ? drift : fisher;
}

ComponentValue read_value(const json& entry, const ComparedRun& run, std::string_view quantity) {
  ComponentValue value{.task = run.task,
                       .seed = run.options.seed,
                       .component = entry.at("component"),
                       .layer = std::nullopt,
                       .part = entry.value("part", "all"),
                       .elements = entry.at("elements"),
                       .rounding_noise = entry.value("rounding_noise", false),
                       .values = {}};
  if (entry.at("layer").is_number()) value.layer = entry["layer"].get<int64_t>();
  for (const std::string& name : value_names(quantity)) {
    if (entry.contains(name) && entry[name].is_number()) value.values[name] = entry[name];
  }
  return value;
}

void read_list(const json& document, const char* name, const ComparedRun& run, std::string_view quantity,
               std::vector<ComponentValue>& list) {
  if (!document.contains(name)) return;
  for (const json& entry : document.at(name)) list.push_back(read_value(entry, run, quantity));
}

void read_run(const ComparedRun& run, ComponentMeasurements& measurements) {
  const std::filesystem::path file = run.options.output_dir / (measurements.quantity + ".json");
  const json document = read_run_file(file);
  try {
    read_list(document, "components", run, measurements.quantity, measurements.components);
    read_list(document, "component_parts", run, measurements.quantity, measurements.parts);
    read_list(document, "component_layers", run, measurements.quantity, measurements.layers);
  } catch (const json::exception& error) {
    fail(ErrorKind::data, "{}: malformed ({}); remove the run's folder to repeat it", file.string(),
         error.what());
  }
  ++measurements.num_runs;
}

using RunKey = std::pair<std::string, uint64_t>;

/// The largest of a list in each run, among components of the encoder's layers.
std::map<RunKey, std::string> largest_by_run(const ComponentMeasurements& measurements,
                                             const std::vector<ComponentValue>& list) {
  const std::vector<std::string> names = measurements.layer_components();
  const std::set<std::string> in_layers(names.begin(), names.end());
  std::map<RunKey, const ComponentValue*> largest;
  for (const ComponentValue& value : list) {
    const auto number = value.values.find(measurements.main_value);
    if (value.rounding_noise || !in_layers.contains(value.component) || number == value.values.end())
      continue;
    const ComponentValue*& best = largest[{value.task, value.seed}];
    if (best == nullptr || number->second > best->values.at(measurements.main_value)) best = &value;
  }
  std::map<RunKey, std::string> names_by_run;
  for (const auto& [run, value] : largest) names_by_run[run] = value->name();
  return names_by_run;
}

/// Mean over tasks of the means over seeds, so that each task counts the same.
struct TaskMeans {
  std::map<std::string, std::pair<double, int64_t>> sums;

  void add(const std::string& task, double value) {
    sums[task].first += value;
    ++sums[task].second;
  }
  std::map<std::string, double> by_task() const {
    std::map<std::string, double> means;
    for (const auto& [task, sum] : sums) means[task] = sum.first / static_cast<double>(sum.second);
    return means;
  }
  double mean() const {
    double total = 0;
    for (const auto& [task, mean] : by_task()) total += mean;
    return sums.empty() ? 0 : total / static_cast<double>(sums.size());
  }
};

ComponentRank rank_of(const std::string& name, const ComponentMeasurements& measurements,
                      const std::vector<ComponentValue>& list) {
  ComponentRank rank{.name = name};
  std::map<std::string, TaskMeans> means;
  for (const ComponentValue& value : list) {
    if (value.name() != name) continue;
    rank.elements = value.elements;
    rank.rounding_noise = value.rounding_noise;
    for (const auto& [key, number] : value.values) means[key].add(value.task, number);
  }
  rank.mean_by_task = means[measurements.main_value].by_task();
  rank.mean = means[measurements.main_value].mean();
  for (const auto& [key, values] : means) {
    if (key != measurements.main_value) rank.other_means[key] = values.mean();
  }
  return rank;
}

std::vector<std::string> names_of(const std::vector<ComponentValue>& list) {
  std::vector<std::string> names;
  for (const ComponentValue& value : list) {
    if (std::find(names.begin(), names.end(), value.name()) == names.end()) names.push_back(value.name());
  }
  return names;
}

void add_csv_lines(const ComponentMeasurements& measurements, const char* list_name,
                   const std::vector<ComponentValue>& list, std::string& text) {
  for (const ComponentValue& value : list) {
    text +=
        fmt::format("{},{},{},{},{},{},{},{}", list_name, value.task, value.seed, value.component, value.part,
                    value.layer ? fmt::format("{}", *value.layer) : "", value.elements, value.rounding_noise);
    for (const std::string& name : value_names(measurements.quantity)) {
      const auto number = value.values.find(name);
      text += number == value.values.end() ? "," : fmt::format(",{}", number->second);
    }
    text += "\n";
  }
}

}  // namespace

std::vector<std::string> ComponentMeasurements::layer_components() const {
  std::vector<std::string> names;
  for (const ComponentValue& value : layers) {
    const bool known = std::find(names.begin(), names.end(), value.component) != names.end();
    if (value.layer && !value.rounding_noise && !known) names.push_back(value.component);
  }
  return names;
}

std::map<std::pair<std::string, uint64_t>, double> ComponentMeasurements::by_run(
    std::string_view name) const {
  std::map<RunKey, double> numbers;
  for (const std::vector<ComponentValue>* list : {&parts, &components}) {
    for (const ComponentValue& value : *list) {
      const auto number = value.values.find(main_value);
      if (value.name() == name && number != value.values.end())
        numbers[{value.task, value.seed}] = number->second;
    }
  }
  return numbers;
}

bool is_in_table(const ComparedRun& run, const ScoreTable& table) {
  return table.has_row(run.row) && table.cell(run.row, run.task).learning_rate == run.options.learning_rate;
}

ComponentMeasurements collect_measurements(std::string_view quantity, const std::string& row,
                                           const ScoreTable& table, std::span<const ComparedRun> runs) {
  ComponentMeasurements measurements{
      .quantity = std::string(quantity), .main_value = value_names(quantity).front(), .row = row};
  for (const ComparedRun& run : runs) {
    const bool wanted = run.row == row && is_in_table(run, table);
    if (wanted && RunFolder(run).state() == RunState::finished) read_run(run, measurements);
  }
  return measurements;
}

std::vector<ComponentRank> rank_components(const ComponentMeasurements& measurements,
                                           const std::vector<ComponentValue>& list) {
  std::vector<ComponentRank> ranks;
  for (const std::string& name : names_of(list)) ranks.push_back(rank_of(name, measurements, list));
  for (const auto& [run, name] : largest_by_run(measurements, list)) {
    const auto winner = std::find_if(ranks.begin(), ranks.end(),
                                     [&name = name](const ComponentRank& rank) { return rank.name == name; });
    ++winner->first_in_runs;
  }
  std::stable_sort(ranks.begin(), ranks.end(), [](const ComponentRank& a, const ComponentRank& b) {
    return std::tuple(a.rounding_noise, -a.mean) < std::tuple(b.rounding_noise, -b.mean);
  });
  return ranks;
}

std::string component_measurements_csv(const ComponentMeasurements& measurements) {
  std::string text = "list,task,seed,component,part,layer,elements,rounding_noise";
  for (const std::string& name : value_names(measurements.quantity)) text += "," + name;
  text += "\n";
  add_csv_lines(measurements, "components", measurements.components, text);
  add_csv_lines(measurements, "component_parts", measurements.parts, text);
  add_csv_lines(measurements, "component_layers", measurements.layers, text);
  return text;
}

}  // namespace normtune
