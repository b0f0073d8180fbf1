#include <cmath>

#include "experiments/pretrain.h"
#include "tests/cuda/device_testing.h"
#include "tests/cuda/emulated_backend.h"
#include "tests/experiments/tiny_run.h"

using namespace normtune;
using namespace normtune::test;
using tiny::metrics_lines;
using tiny::Workspace;

/// Whole runs on the device against the same runs on the CPU, with dropout. The emulated device's memory is
/// out of reach for everyone but its kernels: these runs also show that nothing above the backend touches
/// tensors of a device directly.
BOOST_AUTO_TEST_SUITE(training)

namespace {

int64_t num_steps() {
  return takes_all_cases() ? 100 : 20;
}

FinetuneOptions run_options(const Workspace& workspace, const std::string& method, Device device) {
  FinetuneOptions options = workspace.options(method + (device.type == DeviceType::cpu ? "-cpu" : "-cuda"));
  options.method.method = method;
  options.method.lora_r = 2;
  if (method == "houlsby" || method == "pfeiffer") options.method.adapter_size = 3;
  if (method == "mask") options.method.mask = tiny::write_small_mask(workspace.folder / "mask.safetensors");
  options.learning_rate = 1e-3;
  options.max_steps = num_steps();
  options.logging_steps = 1;
  options.device = device;
  return options;
}

std::vector<double> losses_of(const std::filesystem::path& run) {
  std::vector<double> losses;
  for (const nlohmann::json& line : metrics_lines(run, "step")) losses.push_back(line.at("loss"));
  return losses;
}

/// Of |found - expected|, over the first ten steps and over the first hundred.
struct Bounds {
  double ten, hundred;
};
constexpr Bounds in_float32{1e-5, 1e-3}, in_tf32{1e-3, 4e-3}, in_bfloat16{2e-2, 5e-2};

void check_losses(const std::vector<double>& found, const std::vector<double>& expected,
                  const Bounds& bounds = in_float32) {
  BOOST_REQUIRE(expected.size() == static_cast<size_t>(num_steps()) && found.size() == expected.size());
  for (size_t step = 0; step < expected.size(); ++step) {
    BOOST_CHECK_MESSAGE(std::abs(found[step] - expected[step]) <= (step < 10 ? bounds.ten : bounds.hundred),
                        "step " << step + 1 << ": " << found[step] << " instead of " << expected[step]);
  }
}

void check_method(const std::string& method, const std::string& task = "sst2") {
  BOOST_TEST_CONTEXT(method << " on " << task) {
    const Workspace workspace;
    FinetuneOptions on_cpu = run_options(workspace, method, {});
    FinetuneOptions on_device = run_options(workspace, method, cuda_device);
    on_cpu.task.task_name = on_device.task.task_name = task;
    finetune(on_cpu);
    finetune(on_device);
    check_losses(losses_of(on_device.output_dir), losses_of(on_cpu.output_dir));
    const nlohmann::json expected = tiny::results_of(on_cpu.output_dir),
                         found = tiny::results_of(on_device.output_dir);
    BOOST_TEST(expected.at("peak_device_bytes").is_null());
    BOOST_TEST(found.at("peak_device_bytes").get<int64_t>() > 0);
    BOOST_CHECK(std::abs(found.at("eval_loss").get<double>() - expected.at("eval_loss").get<double>()) <=
                1e-3);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(losses_of_every_method) {
  if (!device_at_hand()) return;
  for (const char* method :
       {"full", "head", "layernorm", "layernorm-attention", "layernorm-all", "layernorm-bias",
        "layernorm-gain", "bitfit", "random", "mask", "houlsby", "pfeiffer", "lora"}) {
    check_method(method);
  }
}

namespace {

/// Heads of 32 channels, so that tensor cores compute attention where it is in bfloat16.
void check_method_in(Precision precision, const std::string& method, const Bounds& bounds) {
  BOOST_TEST_CONTEXT(method) {
    const Workspace workspace;
    tiny::write_model(workspace.model, {.num_heads = 2, .head_size = 32});
    FinetuneOptions on_cpu = run_options(workspace, method, {});
    FinetuneOptions on_device = run_options(workspace, method, cuda_device);
    on_device.precision = precision;
    if (precision != Precision::tf32) on_cpu.precision = precision;  // the CPU has no TF32
    finetune(on_cpu);
    finetune(on_device);
    use_precision(Precision::fp32, {});
    use_precision(Precision::fp32, cuda_device);
    check_losses(losses_of(on_device.output_dir), losses_of(on_cpu.output_dir), bounds);
  }
}

}  // namespace

/// Activations in bfloat16 on the device, in float32 on the CPU.
BOOST_AUTO_TEST_CASE(losses_in_bfloat16) {
  if (!device_at_hand()) return;
  for (const char* method : {"full", "layernorm", "bitfit", "random", "houlsby", "pfeiffer", "lora"}) {
    check_method_in(Precision::bf16, method, in_bfloat16);
  }
}

BOOST_AUTO_TEST_CASE(losses_in_tf32) {
  if (!tf32_at_hand()) return;
  for (const char* method : {"full", "layernorm", "lora"}) check_method_in(Precision::tf32, method, in_tf32);
}

namespace {

/// The number of captures, in which nothing may be used that was not used before.
int64_t captures_in(const FinetuneOptions& options) {
  if (is_emulated()) emulator::forget_uses();
  const int64_t before = is_emulated() ? emulator::num_captures() : 0;
  finetune(options);
  if (!is_emulated()) return 0;
  BOOST_TEST(emulator::num_first_uses_in_captures() == 0);
  return emulator::num_captures() - before;
}

/// Inert tokens change no bit but in the gradients of the embeddings' tables: these are summed in pieces of
/// so many rows, which then begin elsewhere.
void check_captured_steps(const std::string& method, int64_t gradient_accumulation_steps) {
  BOOST_TEST_CONTEXT(method << ", " << gradient_accumulation_steps << " batches") {
    const Workspace workspace;
    FinetuneOptions captured = run_options(workspace, method, cuda_device);
    captured.gradient_accumulation_steps = gradient_accumulation_steps;
    FinetuneOptions launched = captured;
    launched.output_dir = workspace.folder / "launched";
    launched.cuda_graphs = false;
    const int64_t num_captures = captures_in(captured);
    BOOST_TEST(captures_in(launched) == 0);
    check_losses(losses_of(captured.output_dir), losses_of(launched.output_dir));
    if (!is_emulated()) return;
    BOOST_TEST(num_captures > 1);
    BOOST_TEST(num_captures < num_steps() / 2);
    if (method != "full") tiny::check_equal_runs(captured.output_dir, launched.output_dir);
  }
}

}  // namespace

/// Steps are captured once for each size of batch, after a rehearsal, and replayed.
BOOST_AUTO_TEST_CASE(captured_steps_are_the_steps_themselves) {
  if (!device_at_hand()) return;
  for (const char* method : {"full", "layernorm", "random", "houlsby", "lora"}) {
    check_captured_steps(method, 1);
  }
}

/// Those of several batches in pieces. The last update of an epoch, of 7 batches, has a single one, or three
/// of which the last is smaller.
BOOST_AUTO_TEST_CASE(captured_steps_of_several_batches) {
  if (!device_at_hand()) return;
  for (const char* method : {"full", "layernorm", "random", "houlsby", "lora"}) {
    for (const int64_t num_batches : {3, 4}) check_captured_steps(method, num_batches);
  }
}

BOOST_AUTO_TEST_CASE(losses_of_a_regression) {
  if (!device_at_hand()) return;
  check_method("full", "stsb");
}

namespace {

constexpr const char* some_text =
    "the red cat sees a red dog .\nthe cat likes a blue dog .\nthe dog runs .\n";

/// A corpus, and a small model to be made from it.
PretrainOptions pretrain_options(const testing::TemporaryFolder& folder, Device device) {
  std::string text;
  for (int i = 0; i < 24; ++i) text += fmt::format("{}number {} is not here .\n\n", some_text, i);
  PretrainOptions options;
  options.output_dir = folder / (device.type == DeviceType::cpu ? "cpu" : "cuda");
  options.train_files = {folder.write("train.txt", text)};
  options.vocab_size = 60;
  options.num_hidden_layers = 1;
  options.hidden_size = 16;
  options.num_attention_heads = 2;
  options.intermediate_size = 24;
  options.max_seq_length = 24;
  options.per_device_train_batch_size = 4;
  options.learning_rate = 1e-3;
  options.max_steps = num_steps();
  options.logging_steps = 1;
  options.device = device;
  return options;
}

}  // namespace

BOOST_AUTO_TEST_CASE(losses_of_pretraining) {
  if (!device_at_hand()) return;
  const testing::TemporaryFolder folder;
  const PretrainOptions on_cpu = pretrain_options(folder, {}),
                        on_device = pretrain_options(folder, cuda_device);
  pretrain(on_cpu);
  pretrain(on_device);
  check_losses(losses_of(on_device.output_dir), losses_of(on_cpu.output_dir));
}

/// The host may not wait for the device in an update, however many batches it has: what the host enqueues
/// while the device computes costs no time. (The numbers of an update are waited for when the next has been
/// enqueued.)
BOOST_AUTO_TEST_CASE(the_host_waits_for_no_update) {
  if (!is_emulated()) return;  // a real device has no such count
  const auto waits_in_a_run = [](const std::string& task, int64_t batches_in_update, int64_t num_updates) {
    const Workspace workspace;
    FinetuneOptions options = run_options(workspace, "full", cuda_device);
    options.task.task_name = task;
    options.per_device_train_batch_size = 2;
    options.gradient_accumulation_steps = batches_in_update;
    options.eval_strategy = options.save_strategy = "no";
    options.max_steps = num_updates;
    const int64_t before = emulator::num_waits();
    finetune(options);
    return emulator::num_waits() - before;
  };
  for (const std::string task : {"sst2", "stsb"}) {
    for (const int64_t batches : {1, 3}) {
      BOOST_TEST(waits_in_a_run(task, batches, 7) == waits_in_a_run(task, batches, 3));
    }
  }
  const auto waits_in_a_pretraining = [](int64_t num_updates) {
    const testing::TemporaryFolder folder;
    PretrainOptions options = pretrain_options(folder, cuda_device);
    options.eval_strategy = options.save_strategy = "no";
    options.max_steps = num_updates;
    const int64_t before = emulator::num_waits();
    pretrain(options);
    return emulator::num_waits() - before;
  };
  BOOST_TEST(waits_in_a_pretraining(7) == waits_in_a_pretraining(3));
}

/// The step after a loss that is not finite is under way when the host reads it.
BOOST_AUTO_TEST_CASE(a_loss_that_is_not_finite_is_reported_as_on_the_cpu) {
  if (!device_at_hand()) return;
  const Workspace workspace;
  const auto message_on = [&](Device device) -> std::string {
    FinetuneOptions options = run_options(workspace, "full", device);
    options.learning_rate = 1e30;
    options.warmup_steps = 0;
    try {
      finetune(options);
    } catch (const Error& error) {
      BOOST_TEST((error.kind() == ErrorKind::numeric));
      BOOST_TEST(metrics_lines(options.output_dir, "step").size() < 3);
      return error.what();
    }
    return "no error";
  };
  const std::string expected = message_on({});
  BOOST_TEST(expected.starts_with("step 2: the loss is"), expected);
  BOOST_TEST(message_on(cuda_device) == expected);
}

BOOST_AUTO_TEST_CASE(a_stopped_run_goes_on_with_the_same_bytes) {
  if (!device_at_hand()) return;
  const Workspace workspace;
  FinetuneOptions whole = run_options(workspace, "full", cuda_device);
  whole.save_strategy = "steps";
  whole.save_steps = 6;
  FinetuneOptions again = whole;
  again.output_dir = workspace.folder / "again";
  finetune(whole);
  finetune(again);
  std::filesystem::remove(again.output_dir /
                          "all_results.json");  // as if it had been stopped after its last checkpoint
  again.resume_from_checkpoint = true;
  finetune(again);
  tiny::check_equal_runs(whole.output_dir, again.output_dir);
}

BOOST_AUTO_TEST_SUITE_END()
