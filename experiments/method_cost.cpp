#include "experiments/method_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "experiments/child_process.h"
#include "experiments/comparison_plan.h"
#include "experiments/cpu_name.h"
#include "experiments/interrupt.h"
#include "experiments/metrics_log.h"
#include "experiments/run_lock.h"
#include "nn/json_file.h"
#include "nn/sha256.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr int64_t measured_steps = 20;

/// The methods of the rows, each once: an untrained model costs what any other does.
std::vector<std::string> methods_of(const ComparisonOptions& options) {
  std::vector<std::string> methods;
  for (const std::string& row : options.rows) {
    const std::string method = method_of_row(row);
    if (std::find(methods.begin(), methods.end(), method) == methods.end()) methods.push_back(method);
  }
  return methods;
}

/// A short training that writes no checkpoints and has nearly nothing to evaluate.
FinetuneOptions measured_options(const ComparisonOptions& options, const ComparisonInputs& inputs,
                                 const std::string& method) {
  FinetuneOptions run = options.finetune;
  run.task.task_name = task_names(options).front();
  run.task.max_eval_samples = std::min<int64_t>(run.task.max_eval_samples, 8);
  run.method.method = method;
  if (method != "mask") run.method.mask.clear();
  if (method == "mask" && !options.row_masks.empty())
    run.method.mask = options.row_masks.begin()->second.path;
  run.random_init = inputs.model.at("weights").get_ref<const std::string&>().empty();
  run.learning_rate = learning_rates_of(options, method).front();
  run.seed = options.seeds.front();
  run.method.mask_seed = options.mask_seed.value_or(run.seed);
  run.max_steps = measured_steps + 1;
  run.eval_strategy = run.save_strategy = "no";
  run.load_best_model_at_end = false;
  run.early_stopping_patience.reset();
  run.save_unmerged = false;
  run.output_dir = options.output_dir / "costs" / ("measuring-" + method);
  return run;
}

/// What a measurement follows from, beside the machine: the model's shape, the method, the batches.
std::string settings_hash(const FinetuneOptions& options, const ComparisonInputs& inputs) {
  json identity = compared_run_identity(options, inputs, "dev", inputs.mask);
  identity["model_sha256"].erase("weights");
  for (const char* name :
       {"learning_rate", "random_init", "seed", "data_seed", "init_seed", "dropout_seed", "mask_seed",
        "num_train_epochs", "lr_scheduler_type", "warmup_ratio", "warmup_steps", "max_eval_samples"}) {
    identity["options"].erase(name);
  }
  return sha256(identity.dump()).substr(0, 16);
}

// ---- The files in costs/

json cost_json(const MethodCost& cost, const std::string& settings) {
  return {{"method", cost.method},
          {"settings", settings},
          {"ms_per_step", cost.ms_per_step},
          {"peak_rss_bytes", cost.peak_rss_bytes},
          {"peak_device_bytes", cost.peak_device_bytes ? json(*cost.peak_device_bytes) : json()},
          {"threads", cost.threads},
          {"cpu", cost.cpu},
          {"date", cost.date},
          {"other_load", cost.other_load}};
}

MethodCost cost_of_json(const json& document, const fs::path& file) {
  try {
    MethodCost cost{.method = document.at("method"),
                    .ms_per_step = document.at("ms_per_step"),
                    .peak_rss_bytes = document.at("peak_rss_bytes"),
                    .threads = document.at("threads"),
                    .cpu = document.at("cpu"),
                    .date = document.at("date"),
                    .other_load = document.at("other_load")};
    if (document.at("peak_device_bytes").is_number()) cost.peak_device_bytes = document["peak_device_bytes"];
    return cost;
  } catch (const json::exception& error) {
    fail(ErrorKind::data, "{}: malformed ({}); remove the file to measure again", file.string(),
         error.what());
  }
}

/// All measurements of a method with these settings, on whatever machine.
std::vector<MethodCost> stored_costs(const fs::path& folder, const std::string& settings) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<MethodCost> costs;
  for (const fs::path& file : files) {
    const json document = read_json_file(file, ErrorKind::data);
    if (document.value("settings", "") == settings) costs.push_back(cost_of_json(document, file));
  }
  return costs;
}

struct Machine {
  std::string cpu;
  int64_t threads = 0;
  bool operator==(const Machine&) const = default;
};

Machine machine_of(const MethodCost& cost) {
  return {cost.cpu, cost.threads};
}

/// How many processes beside this one want a core, in the mean over a fifth of a second: the fourth field of
/// /proc/loadavg is `running/all`.
double sample_other_load() {
  constexpr int samples = 20;
  int64_t running = 0;
  for (int i = 0; i < samples; ++i) {
    std::string skipped;
    int64_t now = 1;  // this process, where the file is not there
    std::ifstream("/proc/loadavg") >> skipped >> skipped >> skipped >> now;
    running += now - 1;
    std::this_thread::sleep_for(10ms);
  }
  return static_cast<double>(running) / samples;
}

/// Measures, or finds what was measured before.
class CostMeasurement {
 public:
  CostMeasurement(const ComparisonOptions& options, const ComparisonInputs& inputs,
                  const ProgressOutput& progress)
      : options_(options),
        inputs_(inputs),
        progress_(progress),
        folder_(options.output_dir / "costs"),
        here_{cpu_name(), options.cost_threads} {}

  std::vector<MethodCost> run() {
    for (const Machine& machine : machines()) {
      std::vector<MethodCost> costs = costs_on(machine);
      if (costs.size() == methods_of(options_).size()) return costs;
    }
    if (inputs_.recorded) return {};
    measure_missing();
    return costs_on(here_);
  }

 private:
  std::string settings(const std::string& method) const {
    return settings_hash(measured_options(options_, inputs_, method), inputs_);
  }

  /// This machine, and the others that have measured the first method.
  std::vector<Machine> machines() const {
    std::vector<Machine> machines = {here_};
    for (const MethodCost& cost : stored_costs(folder_, settings(methods_of(options_).front()))) {
      if (machine_of(cost) != here_) machines.push_back(machine_of(cost));
    }
    return machines;
  }

  std::optional<MethodCost> cost_on(const Machine& machine, const std::string& method) const {
    for (const MethodCost& cost : stored_costs(folder_, settings(method))) {
      if (machine_of(cost) == machine) return cost;
    }
    return std::nullopt;
  }

  std::vector<MethodCost> costs_on(const Machine& machine) const {
    std::vector<MethodCost> costs;
    for (const std::string& method : methods_of(options_)) {
      if (const std::optional<MethodCost> cost = cost_on(machine, method)) costs.push_back(*cost);
    }
    return costs;
  }

  void measure_missing() {
    const InterruptGuard interrupt_guard;
    std::unique_ptr<RunLock> lock = RunLock::try_lock(folder_);
    for (; !lock && InterruptGuard::signal() == 0; lock = RunLock::try_lock(folder_)) {
      std::this_thread::sleep_for(100ms);  // another comparison measures
    }
    for (const std::string& method : methods_of(options_)) {
      if (InterruptGuard::signal() != 0) return;
      if (!cost_on(here_, method)) measure(method);
    }
  }

  void measure(const std::string& method) {
    const FinetuneOptions run = measured_options(options_, inputs_, method);
    const double other_load = sample_other_load();
    say(fmt::format("measuring the cost of {}", method));
    if (other_load > disturbing_load) {
      say(fmt::format(
          "warning: other processes keep {:.1f} cores busy and disturb it; remove {} to measure again later",
          other_load, folder_.string()));
    }
    std::vector<std::string> arguments = finetune_arguments(run);
    arguments.push_back("--overwrite_output_dir=true");
    arguments.push_back(fmt::format("--num_threads={}", here_.threads));
    const int exit_code = run_child({.program = options_.program, .arguments = arguments});
    if (exit_code == 0) {
      store(method, read_json_file(run.output_dir / "all_results.json", ErrorKind::data), other_load);
    }
    std::error_code error;
    fs::remove_all(run.output_dir, error);
    if (exit_code != 0 && InterruptGuard::signal() == 0) {
      say(fmt::format("the cost of {} could not be measured (exit code {})", method, exit_code));
    }
  }

  static int run_child(const ChildProcess::Command& command) {
    ChildProcess child(command);
    while (!child.exit_code()) {
      if (InterruptGuard::signal() != 0) child.send_signal(SIGKILL);
      std::this_thread::sleep_for(5ms);
    }
    return *child.exit_code();
  }

  void store(const std::string& method, const json& results, double other_load) const {
    MethodCost cost{.method = method,
                    .ms_per_step = results.at("ms_per_step"),
                    .peak_rss_bytes = results.at("peak_rss_bytes"),
                    .threads = here_.threads,
                    .cpu = here_.cpu,
                    .date = utc_time().substr(0, std::string_view("2026-01-31").size()),
                    .other_load = other_load};
    if (results.at("peak_device_bytes").is_number()) cost.peak_device_bytes = results["peak_device_bytes"];
    const std::string id =
        sha256(settings(method) + here_.cpu + fmt::format("{}", here_.threads)).substr(0, 8);
    write_json_file(folder_ / fmt::format("{}-{}.json", method, id), cost_json(cost, settings(method)));
  }

  void say(const std::string& text) const {
    if (!progress_.quiet && progress_.write) progress_.write(text + "\n");
  }

  const ComparisonOptions& options_;
  const ComparisonInputs& inputs_;
  const ProgressOutput& progress_;
  fs::path folder_;
  Machine here_;
};

}  // namespace

std::vector<MethodCost> measure_costs(const ComparisonOptions& options, const ComparisonInputs& inputs,
                                      const ProgressOutput& progress) {
  return CostMeasurement(options, inputs, progress).run();
}

std::string method_costs_csv(const std::vector<MethodCost>& costs) {
  std::string text = "method,ms_per_step,peak_rss_bytes,peak_device_bytes,threads,cpu,date\n";
  for (const MethodCost& cost : costs) {
    text += fmt::format("{},{},{},{},{},\"{}\",{}\n", cost.method, cost.ms_per_step, cost.peak_rss_bytes,
                        cost.peak_device_bytes ? fmt::format("{}", *cost.peak_device_bytes) : "",
                        cost.threads, cost.cpu, cost.date);
  }
  return text;
}

}  // namespace normtune
