// Stops of every kind, and that the run which goes on ends with the same bytes as one that never stopped.

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <random>
#include <thread>

#include "experiments/checkpoint_folder.h"
#include "nn/atomic_file.h"
#include "nn/mask_file.h"
#include "tests/experiments/tiny_run.h"

namespace normtune {

using fixtures::check_error_parts;
using tiny::check_equal_runs;
using tiny::metrics_lines;
using tiny::Workspace;
namespace fs = std::filesystem;

namespace {

/// Two epochs of four updates (the last one of each smaller), with everything that a checkpoint must carry.
FinetuneOptions short_run(const Workspace& workspace, const std::string& output) {
  FinetuneOptions options = workspace.options(output);
  options.per_device_train_batch_size = 3;
  options.gradient_accumulation_steps = 3;  // 26 examples: 9 batches, 3 updates per epoch
  options.num_train_epochs = 3;
  options.logging_steps = 2;
  options.weight_decay = 0.01;
  options.warmup_steps = 2;
  options.learning_rate = 0.02;
  return options;
}

/// Sends `signal_number` to this process when progress first shows `text`. (Only then: a second signal
/// kills.)
ProgressOutput signal_at(const std::string& text, int signal_number) {
  const auto sent = std::make_shared<bool>(false);
  return {.write =
              [=](std::string_view line) {
                if (*sent || line.find(text) == std::string_view::npos) return;
                *sent = true;
                std::raise(signal_number);
              },
          .interval = std::chrono::milliseconds(0)};
}

FinetuneOptions resumed(FinetuneOptions options) {
  options.resume_from_checkpoint = true;
  options.progress = {.quiet = true};
  return options;
}

int64_t count_event_files(const fs::path& run) {
  int64_t count = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(run)) {
    count += entry.path().filename().string().starts_with("events.out.tfevents.");
  }
  return count;
}

/// Every checkpoint that is there can be read, by whoever reads model folders too.
void check_checkpoints(const fs::path& run) {
  for (const int64_t step : checkpoint_steps(run)) {
    const fs::path checkpoint = checkpoint_path(run, step);
    BOOST_CHECK_EQUAL(read_training_state(checkpoint).step, step);
    BOOST_CHECK(!load_model(checkpoint, {}).fresh_classifier);
  }
}

/// Fails the `fatal`-th call as a full disk does.
class FullDisk final : public FileCalls {
 public:
  explicit FullDisk(int64_t fatal) : fatal_(fatal) {}
  int open(const char* path, int flags, mode_t mode) override {
    return is_full() ? -1 : FileCalls::open(path, flags, mode);
  }
  ssize_t write(int descriptor, const void* bytes, size_t count) override {
    return is_full() ? -1 : FileCalls::write(descriptor, bytes, count);
  }
  int fsync(int descriptor) override { return is_full() ? -1 : FileCalls::fsync(descriptor); }
  int rename(const char* from, const char* to) override {
    return is_full() ? -1 : FileCalls::rename(from, to);
  }
  int64_t calls() const { return calls_; }

 private:
  bool is_full() {
    if (calls_++ != fatal_) return false;
    errno = ENOSPC;
    return true;
  }

  int64_t fatal_;
  int64_t calls_ = 0;
};

// A run in a process of its own, which can be killed: the test program itself, asked for the disabled test
// case `child` below.

constexpr const char* child_folder = "NORMTUNE_TEST_CHILD_FOLDER";
constexpr const char* child_file_limit = "NORMTUNE_TEST_CHILD_FILE_LIMIT";

pid_t start_child(const fs::path& folder, const std::string& file_limit = "0") {
  const pid_t child = ::fork();
  BOOST_REQUIRE(child >= 0);
  if (child > 0) return child;
  ::setenv(child_folder, folder.c_str(), 1);
  ::setenv(child_file_limit, file_limit.c_str(), 1);
  ::execl("/proc/self/exe", "test", "--run_test=resume/child", "--log_level=nothing", "--report_level=no",
          nullptr);
  std::_Exit(127);
}

int wait_for(pid_t child) {
  int status = 0;
  BOOST_REQUIRE_EQUAL(::waitpid(child, &status, 0), child);
  return status;
}

FinetuneOptions child_options(const fs::path& folder, const std::string& output) {
  FinetuneOptions options;
  options.model_name_or_path = folder / "model";
  options.output_dir = folder / output;
  options.task = {.task_name = "sst2", .glue_dir = folder / "glue"};
  options.max_seq_length = 32;
  options.max_steps = 20;
  options.per_device_train_batch_size = 4;
  options.logging_steps = 1;
  options.save_strategy = "steps";
  options.save_steps = 1;
  return options;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(resume)

BOOST_AUTO_TEST_CASE(at_every_step) {
  const Workspace workspace;
  const FinetuneOptions reference = short_run(workspace, "reference");
  finetune(reference);
  for (int64_t step = 1; step <= 9; ++step) {
    FinetuneOptions options = short_run(workspace, fmt::format("stopped-{}", step));
    options.progress = signal_at(fmt::format("Training: {}/9", step), step % 2 == 1 ? SIGINT : SIGTERM);
    const TrainingResult result = finetune(options);
    BOOST_CHECK_EQUAL(result.interrupted_by, step % 2 == 1 ? SIGINT : SIGTERM);
    BOOST_CHECK_EQUAL(result.checkpoint.filename(), fmt::format("checkpoint-{}", step));
    BOOST_CHECK_EQUAL(metrics_lines(options.output_dir).back().at("status"), "interrupted");
    BOOST_CHECK(!fs::exists(options.output_dir / "all_results.json"));
    check_checkpoints(options.output_dir);

    finetune(resumed(options));
    check_equal_runs(reference.output_dir, options.output_dir);
    BOOST_CHECK_EQUAL(metrics_lines(options.output_dir, "resume").size(), 1);
    BOOST_CHECK_EQUAL(count_event_files(options.output_dir), 2);
  }
}

BOOST_AUTO_TEST_CASE(with_every_kind_of_state) {
  const Workspace workspace;
  const fs::path mask = workspace.folder / "mask.safetensors";
  write_mask(mask, {.origin = {}, .tensors = {{"bert.encoder.layer.0.output.dense.weight", {1, 7, 20}}}});
  const auto check = [&](const std::string& name, auto&& change) {
    FinetuneOptions reference = short_run(workspace, name), stopped = short_run(workspace, name + "-stopped");
    for (FinetuneOptions* options : {&reference, &stopped}) change(*options);
    finetune(reference);
    stopped.progress = signal_at("Training: 4/", SIGINT);
    BOOST_CHECK_EQUAL(finetune(stopped).interrupted_by, SIGINT);
    finetune(resumed(stopped));
    check_equal_runs(reference.output_dir, stopped.output_dir);
  };
  check("layernorm", [](auto& options) { options.method.method = "layernorm"; });
  check("lora", [](auto& options) {
    options.method.method = "lora";
    options.method.lora_dropout = 0.1;
  });
  check("houlsby", [](auto& options) {
    options.method.method = "houlsby";
    options.method.adapter_size = 3;
  });
  check("mask", [&](auto& options) {
    options.method.method = "mask";
    options.method.mask = mask;
  });
  check("sgd", [](auto& options) { options.optim = "sgd"; });
  check("fp64", [](auto& options) { options.precision = Precision::fp64; });
  check("best", [](auto& options) {
    options.load_best_model_at_end = true;
    options.early_stopping_patience = 2;
    options.learning_rate = 0.1;
  });
}

BOOST_AUTO_TEST_CASE(stopped_while_evaluating) {
  const Workspace workspace;
  const FinetuneOptions reference = short_run(workspace, "reference");
  finetune(reference);
  FinetuneOptions options = short_run(workspace, "stopped");
  options.per_device_eval_batch_size = 2;
  options.output_dir = workspace.folder / "reference-2";
  finetune(options);
  options.output_dir = workspace.folder / "stopped";
  FinetuneOptions stopped = options;
  stopped.progress = signal_at("evaluating, 4 examples", SIGINT);
  BOOST_CHECK_EQUAL(finetune(stopped).interrupted_by, SIGINT);
  BOOST_CHECK(metrics_lines(options.output_dir, "eval").empty());
  BOOST_CHECK(!read_training_state(options.output_dir / "checkpoint-3").evaluated);
  finetune(resumed(options));
  check_equal_runs(workspace.folder / "reference-2", options.output_dir);
}

BOOST_AUTO_TEST_CASE(several_times_in_one_run) {
  const Workspace workspace;
  const FinetuneOptions reference = short_run(workspace, "reference");
  finetune(reference);
  FinetuneOptions options = short_run(workspace, "stopped");
  options.resume_from_checkpoint = true;  // from the start, as there is no checkpoint
  for (const int64_t step : {2, 3, 5, 8}) {
    options.progress = signal_at(fmt::format("Training: {}/9", step), SIGINT);
    BOOST_CHECK_EQUAL(finetune(options).interrupted_by, SIGINT);
  }
  finetune(resumed(options));
  check_equal_runs(reference.output_dir, options.output_dir);
}

BOOST_AUTO_TEST_CASE(from_an_earlier_checkpoint) {
  const Workspace workspace;
  FinetuneOptions options = short_run(workspace, "run");
  options.save_total_limit = 0;
  finetune(options);
  const auto expected = tiny::comparable_files(options.output_dir);
  options.resume_from = options.output_dir / "checkpoint-3";
  finetune(options);
  BOOST_CHECK(tiny::comparable_files(options.output_dir) == expected);
}

/// As if it had been killed between its last checkpoint and the removal of the one before.
BOOST_AUTO_TEST_CASE(removes_old_checkpoints) {
  const Workspace workspace;
  const FinetuneOptions reference = short_run(workspace, "reference"), options = short_run(workspace, "run");
  finetune(reference);
  finetune(options);
  const std::vector<int64_t> steps = checkpoint_steps(options.output_dir);
  BOOST_REQUIRE(!steps.empty() && std::ssize(steps) == options.save_total_limit);
  fs::copy(checkpoint_path(options.output_dir, steps.front()),
           checkpoint_path(options.output_dir, steps.front() - 1), fs::copy_options::recursive);
  fs::remove(options.output_dir / "all_results.json");
  finetune(resumed(options));
  BOOST_CHECK(checkpoint_steps(options.output_dir) == steps);
  check_equal_runs(reference.output_dir, options.output_dir);
}

BOOST_AUTO_TEST_CASE(of_a_finished_run_changes_nothing) {
  const Workspace workspace;
  const FinetuneOptions options = short_run(workspace, "run");
  const TrainingResult result = finetune(options);
  const std::string log = fixtures::content_of(options.output_dir / "metrics.jsonl");
  BOOST_CHECK_EQUAL(finetune(resumed(options)).all_results_json, result.all_results_json);
  BOOST_CHECK_EQUAL(fixtures::content_of(options.output_dir / "metrics.jsonl"), log);
}

BOOST_AUTO_TEST_CASE(refuses_the_checkpoint_of_another_run) {
  const Workspace workspace;
  FinetuneOptions options = short_run(workspace, "run");
  options.progress = signal_at("Training: 2/", SIGINT);
  finetune(options);
  options = resumed(options);
  options.learning_rate = 0.03;
  check_error_parts(ErrorKind::usage, {"checkpoint-2", "learning_rate 0.03 (was 0.02)"},
                    [&] { finetune(options); });
  options = short_run(workspace, "run");
  options.resume_from = options.output_dir / "checkpoint-7";
  check_error_parts(ErrorKind::model, {"checkpoint-7"}, [&] { finetune(options); });
}

namespace {

/// Of every step, and of the last evaluation.
std::vector<double> losses_of(const fs::path& run) {
  std::vector<double> losses;
  for (const nlohmann::json& line : metrics_lines(run, "step")) losses.push_back(line.at("loss"));
  losses.push_back(tiny::results_of(run).at("eval_loss"));
  return losses;
}

}  // namespace

/// Who lacks memory cuts updates into smaller batches, and evaluations. Numbers move by rounding alone.
BOOST_AUTO_TEST_CASE(with_other_batches_of_the_same_updates) {
  const Workspace workspace;
  for (const Precision precision : {Precision::fp64, Precision::fp32}) {
    const auto named = [&](const std::string& name) {
      FinetuneOptions options = short_run(workspace, fmt::format("{}-{}", name, to_string(precision)));
      options.precision = precision;
      options.logging_steps = 1;
      return options;
    };
    const FinetuneOptions reference = named("reference");
    finetune(reference);
    const std::vector<double> expected = losses_of(reference.output_dir);
    for (const auto& [batch, accumulation] : {std::pair{1, 9}, std::pair{9, 1}}) {
      FinetuneOptions options = named(fmt::format("batches-of-{}", batch));
      options.progress = signal_at("Training: 4/", SIGINT);
      finetune(options);
      options = resumed(options);
      options.per_device_train_batch_size = batch;
      options.gradient_accumulation_steps = accumulation;
      options.per_device_eval_batch_size = 2;
      options.cuda_graphs = false;
      finetune(options);
      const std::vector<double> found = losses_of(options.output_dir);
      BOOST_REQUIRE_EQUAL(found.size(), expected.size());
      for (size_t i = 0; i < found.size(); ++i) {
        BOOST_TEST(std::abs(found[i] - expected[i]) <= (precision == Precision::fp64 ? 1e-12 : 1e-5));
      }
      const nlohmann::json line = metrics_lines(options.output_dir, "resume").at(0);
      BOOST_TEST(line.at("changed").get<std::string>().find(
                     fmt::format("per_device_train_batch_size {} (was 3)", batch)) != std::string::npos);
      BOOST_TEST(line.at("run") == tiny::results_of(options.output_dir).at("run"));
    }
  }
}

BOOST_AUTO_TEST_CASE(refuses_batches_of_other_updates) {
  const Workspace workspace;
  FinetuneOptions options = short_run(workspace, "run");
  options.progress = signal_at("Training: 2/", SIGINT);
  finetune(options);
  options = resumed(options);
  options.per_device_train_batch_size = 2;
  check_error_parts(ErrorKind::usage, {"checkpoint-2", "per_device_train_batch_size 2 (was 3)"},
                    [&] { finetune(options); });
}

BOOST_AUTO_TEST_CASE(refuses_a_damaged_checkpoint) {
  const Workspace workspace;
  FinetuneOptions options = short_run(workspace, "run");
  options.progress = signal_at("Training: 2/", SIGINT);
  const fs::path checkpoint = finetune(options).checkpoint;
  options = resumed(options);
  const auto damage = [&](const char* name, const std::string& content, const std::string& expected) {
    const std::string whole = fixtures::content_of(checkpoint / name);
    std::ofstream(checkpoint / name, std::ios::binary) << content;
    check_error_parts(ErrorKind::model, {name, expected}, [&] { finetune(options); });
    std::ofstream(checkpoint / name, std::ios::binary) << whole;
  };
  const std::string tensors = fixtures::content_of(checkpoint / "training_state.safetensors");
  damage("training_state.safetensors", tensors.substr(0, tensors.size() - 1), "");
  damage("training_state.json", "{}", "run");
  damage("training_state.json", "{", "");
  finetune(options);
}

BOOST_AUTO_TEST_CASE(after_a_full_disk) {
  const Workspace workspace;
  FinetuneOptions reference = child_options(workspace.folder.path(), "reference");
  reference.max_steps = 3;
  int64_t num_calls = 0;
  {
    FullDisk never(-1);
    const FileCallsGuard guard(never);
    finetune(reference);
    num_calls = never.calls();
  }
  BOOST_TEST_MESSAGE(num_calls << " calls that write");
  for (int64_t fatal = 0; fatal < num_calls; fatal += 23) {
    FinetuneOptions options = child_options(workspace.folder.path(), fmt::format("full-{}", fatal));
    options.max_steps = 3;
    {
      FullDisk disk(fatal);
      const FileCallsGuard guard(disk);
      check_error_parts(ErrorKind::write, {"No space left on device"}, [&] { finetune(options); });
    }
    check_checkpoints(options.output_dir);
    finetune(resumed(options));
    check_equal_runs(reference.output_dir, options.output_dir);
  }
}

BOOST_AUTO_TEST_CASE(after_a_kill) {
  const Workspace workspace;
  const FinetuneOptions reference = child_options(workspace.folder.path(), "reference");
  const auto start = std::chrono::steady_clock::now();
  finetune(reference);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed " << seed);
  std::mt19937 engine(seed);
  const fs::path run = workspace.folder / "child";
  int kills = 0;
  for (int attempt = 0; attempt < 12; ++attempt) {
    const pid_t child = start_child(workspace.folder.path());
    const double delay = seconds * std::uniform_real_distribution<double>(0, 0.4)(engine);
    std::this_thread::sleep_for(std::chrono::duration<double>(delay));
    ::kill(child, SIGKILL);
    const int status = wait_for(child);
    check_checkpoints(run);
    if (!WIFSIGNALED(status)) break;  // it was faster
    ++kills;
  }
  BOOST_TEST_MESSAGE(kills << " kills");
  const int status = wait_for(start_child(workspace.folder.path()));
  BOOST_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  check_equal_runs(reference.output_dir, run);
}

BOOST_AUTO_TEST_CASE(a_limit_on_file_sizes_is_a_full_disk) {
  const Workspace workspace;
  const int status = wait_for(start_child(workspace.folder.path(), "3000"));
  BOOST_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == static_cast<int>(ErrorKind::write));
  check_checkpoints(workspace.folder / "child");
  const int second = wait_for(start_child(workspace.folder.path()));
  BOOST_CHECK(WIFEXITED(second) && WEXITSTATUS(second) == 0);
}

/// The killable run of the cases above; exits with the kind of its error.
BOOST_AUTO_TEST_CASE(child, *boost::unit_test::disabled()) {
  const char* folder = std::getenv(child_folder);
  if (folder == nullptr) return;
  const rlim_t limit = std::stoul(std::getenv(child_file_limit));
  if (limit > 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit file_size{limit, limit};
    BOOST_REQUIRE_EQUAL(::setrlimit(RLIMIT_FSIZE, &file_size), 0);
  }
  FinetuneOptions options = child_options(folder, "child");
  options.resume_from_checkpoint = true;
  try {
    finetune(options);
  } catch (const Error& error) {
    std::_Exit(static_cast<int>(error.kind()));
  }
  std::_Exit(0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
