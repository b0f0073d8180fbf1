#include <cmath>

#include "experiments/checkpoint_folder.h"
#include "tests/cuda/device_testing.h"
#include "tests/cuda/stand_in/machine.h"
#include "tests/cuda/stand_in/memory.h"
#include "tests/experiments/tiny_run.h"

using namespace normtune;
using namespace normtune::test;
using tiny::Workspace;

/// Runs whose device has no memory left, and how they go on.
BOOST_AUTO_TEST_SUITE(out_of_memory)

namespace {

constexpr int64_t num_steps = 9, save_steps = 3;

FinetuneOptions run_with_checkpoints(const Workspace& workspace, const std::string& output) {
  FinetuneOptions options = workspace.options(output);
  options.max_steps = num_steps;
  options.logging_steps = 1;
  options.save_strategy = "steps";
  options.save_steps = save_steps;
  options.save_total_limit = 0;
  options.device = cuda_device;
  return options;
}

/// Somebody else takes what the device has left and what its pool keeps.
void take_all_memory() {
  backend_of(cuda_device).synchronize();
  cudaMemPool_t pool = nullptr;
  BOOST_REQUIRE(cudaDeviceGetDefaultMemPool(&pool, 0) == cudaSuccess);
  BOOST_REQUIRE(cudaMemPoolTrimTo(pool, 0) == cudaSuccess);
  stand_in::machine().memory_bytes = stand_in::taken_bytes(0);
}

/// Runs until the device, whose memory goes while the step after `step` is enqueued, has none. Returns the
/// message.
std::string run_out_of_memory(FinetuneOptions options, int64_t step) {
  const size_t memory_bytes = stand_in::machine().memory_bytes;
  const std::string shown = fmt::format("Training: {}/", step);
  options.progress = {.write =
                          [&](std::string_view line) {
                            if (line.find(shown) != std::string_view::npos) take_all_memory();
                          },
                      .interval = std::chrono::milliseconds(0)};
  std::string message;
  try {
    finetune(options);
  } catch (const Error& error) {
    BOOST_TEST((error.kind() == ErrorKind::out_of_memory), error.what());
    message = error.what();
  }
  stand_in::machine().memory_bytes = memory_bytes;
  BOOST_REQUIRE_MESSAGE(!message.empty(), "the run did not run out of memory");
  return message;
}

FinetuneOptions resumed(FinetuneOptions options) {
  options.resume_from_checkpoint = true;
  return options;
}

std::vector<double> losses_of_run(const std::filesystem::path& run) {
  std::vector<double> losses;
  for (const nlohmann::json& line : tiny::metrics_lines(run, "step")) losses.push_back(line.at("loss"));
  return losses;
}

}  // namespace

/// Wherever it happens, also before there is a checkpoint, with captured steps and without.
BOOST_AUTO_TEST_CASE(a_run_goes_on_with_the_same_bytes) {
  const Workspace workspace;
  for (const bool cuda_graphs : {true, false}) {
    const auto options_for = [&](const std::string& name) {
      FinetuneOptions options = run_with_checkpoints(workspace, name + (cuda_graphs ? "" : "-launched"));
      options.cuda_graphs = cuda_graphs;
      return options;
    };
    const FinetuneOptions whole = options_for("whole");
    finetune(whole);
    for (const int64_t step : {1, 4, 6, 8}) {
      BOOST_TEST_CONTEXT("after step " << step << (cuda_graphs ? "" : ", launched")) {
        const FinetuneOptions options = options_for(fmt::format("stopped-{}", step));
        const std::string message = run_out_of_memory(options, step);
        BOOST_TEST(message.starts_with("out of memory on cuda:0: asked for "), message);
        const std::vector<int64_t> steps = checkpoint_steps(options.output_dir);
        BOOST_TEST(std::ssize(steps) == (step - 1) / save_steps);  // one needs memory
        for (const int64_t saved : steps) {
          tiny::check_equal_runs(checkpoint_path(whole.output_dir, saved),
                                 checkpoint_path(options.output_dir, saved));
        }
        BOOST_TEST(!std::filesystem::exists(options.output_dir / "all_results.json"));
        finetune(resumed(options));
        tiny::check_equal_runs(whole.output_dir, options.output_dir);
      }
    }
  }
}

/// Numbers move by rounding alone, and less memory is needed.
BOOST_AUTO_TEST_CASE(a_run_goes_on_as_the_message_says) {
  const Workspace workspace;
  Allocator& allocator = backend_of(cuda_device).allocator();
  const auto peak_of = [&](const FinetuneOptions& options) {
    allocator.reset_peak();
    finetune(options);
    return allocator.stats().peak_in_use;
  };
  const auto options_for = [&](const std::string& name) {
    FinetuneOptions options = run_with_checkpoints(workspace, name);
    options.per_device_train_batch_size = 6;
    options.learning_rate = 1e-3;
    options.cuda_graphs = false;  // whose memory stays
    return options;
  };
  const FinetuneOptions whole = options_for("whole");
  const size_t whole_peak = peak_of(whole);
  FinetuneOptions options = options_for("stopped");
  BOOST_TEST(
      run_out_of_memory(options, 2)
          .ends_with(
              "; to go on from the beginning with the same examples in each update: --resume_from_checkpoint "
              "--per_device_train_batch_size 3 --gradient_accumulation_steps 2 --per_device_eval_batch_size "
              "4"));
  options.per_device_train_batch_size = 3;
  options.gradient_accumulation_steps = 2;
  options.per_device_eval_batch_size = 4;
  BOOST_TEST(run_out_of_memory(resumed(options), 5)
                 .ends_with("; to go on from checkpoint-3 with the same examples in each update: "
                            "--resume_from_checkpoint --per_device_train_batch_size 1 "
                            "--gradient_accumulation_steps 6 --per_device_eval_batch_size 2"));
  options.per_device_train_batch_size = 1;
  options.gradient_accumulation_steps = 6;
  options.per_device_eval_batch_size = 2;
  BOOST_TEST(peak_of(resumed(options)) < whole_peak);
  const std::vector<double> expected = losses_of_run(whole.output_dir),
                            found = losses_of_run(options.output_dir);
  BOOST_REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) BOOST_TEST(std::abs(found[i] - expected[i]) <= 1e-5);
}

BOOST_AUTO_TEST_SUITE_END()
