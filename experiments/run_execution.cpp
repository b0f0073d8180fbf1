#include "experiments/run_execution.h"

#include <csignal>
#include <fstream>
#include <string_view>

#include "experiments/checkpoint_folder.h"
#include "nn/json_file.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

/// The last line of a log, without the program's name in front of an error.
std::string last_line(const fs::path& log) {
  std::ifstream file(log);
  std::string last;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) last = line;
  }
  constexpr std::string_view prefix = "normtune: error: ";
  return last.starts_with(prefix) ? last.substr(prefix.size()) : last;
}

/// What became of a child that left no result, as an exit code of ours and a line.
RunFailure describe_exit(int exit_code, const fs::path& log) {
  if (exit_code < 128) return {.exit_code = exit_code, .error = last_line(log)};
  const int signal_number = exit_code - 128;
  if (signal_number == SIGKILL) {
    return {.exit_code = static_cast<int>(ErrorKind::out_of_memory),
            .error =
                "ended by signal 9, which is how the system ends a process when memory runs out; use fewer "
                "--jobs or a smaller batch"};
  }
  const bool asked = signal_number == SIGINT || signal_number == SIGTERM;
  return {.exit_code = asked ? exit_code : static_cast<int>(ErrorKind::internal),
          .error = fmt::format("ended by signal {} ({})", signal_number, ::strsignal(signal_number))};
}

}  // namespace

std::unique_ptr<RunExecution> RunExecution::try_start(const ComparedRun& run,
                                                      const ComparisonOptions& options) {
  std::unique_ptr<RunLock> lock = RunLock::try_lock(run.options.output_dir);
  if (!lock || RunFolder(run).state() == RunState::finished) return nullptr;
  return std::unique_ptr<RunExecution>(new RunExecution(run, options, std::move(lock)));
}

RunExecution::RunExecution(const ComparedRun& run, const ComparisonOptions& options,
                           std::unique_ptr<RunLock> lock)
    : run_(run), options_(options), folder_(run), lock_(std::move(lock)) {
  start_finetune();
}

double RunExecution::elapsed() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void RunExecution::start(std::vector<std::string> arguments, const fs::path& output) {
  arguments.push_back(fmt::format("--num_threads={}", options_.num_threads));
  child_ = std::make_unique<ChildProcess>(ChildProcess::Command{.program = options_.program,
                                                                .arguments = std::move(arguments),
                                                                .output = output,
                                                                .errors = folder_.log()});
}

void RunExecution::start_finetune() {
  if (folder_.lacks_measurements()) folder_.clear();
  folder_.remove_measurements();
  resumed_ = !checkpoint_steps(run_.options.output_dir).empty();
  std::vector<std::string> arguments = finetune_arguments(run_.options);
  arguments.push_back("--resume_from_checkpoint=true");
  start(std::move(arguments), {});
}

void RunExecution::start_evaluate() {
  evaluated_ = true;
  start(evaluate_arguments(run_.options, options_.report_split), folder_.evaluation());
}

void RunExecution::start_measurement(const std::string& name) {
  measuring_ = name;
  const std::vector<std::string> arguments =
      name == "drift.json" ? drift_arguments(run_.options)
                           : fisher_arguments(run_.options, options_.keep.fisher_samples);
  start(arguments, folder_.printed(name));
}

bool RunExecution::start_next() {
  finetuning_ = false;
  if (!measuring_.empty()) folder_.keep_measurement(measuring_);
  measuring_.clear();
  if (!evaluated_ && options_.report_split != "dev") {
    start_evaluate();
    return true;
  }
  const std::vector<std::string> missing = folder_.missing_measurements();
  if (missing.empty()) return false;
  start_measurement(missing.front());
  return true;
}

std::optional<RunEnd> RunExecution::poll() {
  const std::optional<int> exit_code = child_->exit_code();
  if (!exit_code) return std::nullopt;
  return after_exit(*exit_code);
}

std::optional<RunEnd> RunExecution::after_exit(int exit_code) {
  if (exit_code == 0) {
    if (stop_signal_ != 0 && !(evaluated_ || options_.report_split == "dev")) return RunEnd::stopped;
    if (!start_next()) return finish();
    if (stop_signal_ != 0) child_->send_signal(stop_signal_);
    return std::nullopt;
  }
  if (stop_signal_ != 0) return RunEnd::stopped;
  // A checkpoint that cannot be continued (of another version of the program, or damaged) is not worth more
  // than the run: once more from the beginning.
  const bool refused =
      exit_code == static_cast<int>(ErrorKind::usage) || exit_code == static_cast<int>(ErrorKind::model);
  if (finetuning_ && resumed_ && refused) {
    folder_.clear();
    start_finetune();
    return std::nullopt;
  }
  return fail_run(exit_code);
}

RunEnd RunExecution::finish() {
  folder_.finish(finetune_arguments(run_.options), options_.program_version, options_.report_split,
                 options_.keep_models);
  return RunEnd::finished;
}

RunEnd RunExecution::fail_run(int exit_code) {
  folder_.write_failure(describe_exit(exit_code, folder_.log()));
  return RunEnd::failed;
}

void RunExecution::stop(int signal_number) {
  stop_signal_ = signal_number;
  child_->send_signal(signal_number);
}

}  // namespace normtune
