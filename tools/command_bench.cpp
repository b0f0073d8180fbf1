#include <nlohmann/json.hpp>

#include "experiments/bench.h"
#include "tools/commands.h"
#include "tools/common_options.h"
#include "tools/method_options.h"

namespace normtune {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct BenchOptions {
  CommonOptions common;
  std::string shape = "base";
  fs::path model;
  MethodArguments method;
  bool kernels = false;
  bool last_layer_cls_only = true, cuda_graphs = true;
  int64_t batch = 16, seq = 128, repeats = 7;
  fs::path lengths;
};

void declare(Options& options, BenchOptions& bench) {
  options.positional("MODEL", bench.model,
                     "a model folder whose config.json gives the shape, instead of --shape");
  options.group("What is timed");
  options.choice("shape", bench.shape, {"tiny", "minilm", "base", "large"}, "size of the model");
  options.integer("batch", bench.batch, at_least_1, "sequences of a batch");
  options.integer("seq", bench.seq, at_least_1, "tokens of each sequence");
  options.path("lengths", bench.lengths, "FILE",
               "one sequence length per line, instead of --seq; never padded");
  options.boolean("kernels", bench.kernels, "also times each kernel by itself");
  options.boolean("last_layer_cls_only", bench.last_layer_cls_only,
                  "computes the last layer for the [CLS] rows alone, as training does");
  options.boolean("cuda_graphs", bench.cuda_graphs, "launches a step on a CUDA device as a whole");
  options.integer("repeats", bench.repeats, at_least_1,
                  "timed passes, after one that is discarded (on a device two)");
  add_method_options(options, bench.method);
  add_common_options(options, bench.common);
}

BertConfig config_of(const BenchOptions& bench) {
  BertConfig config = bench.model.empty() ? bench_shape(bench.shape) : read_bert_config(bench.model);
  if (bench.lengths.empty() && bench.seq > config.max_position_embeddings) {
    fail(ErrorKind::usage, "--seq: expected at most the model's {} positions, found {}",
         config.max_position_embeddings, bench.seq);
  }
  return config;
}

std::vector<std::vector<int64_t>> batches_of(const BenchOptions& bench, const BertConfig& config) {
  if (!bench.lengths.empty()) {
    return read_length_batches(bench.lengths.string(), bench.batch, config.max_position_embeddings);
  }
  return {std::vector<int64_t>(static_cast<size_t>(bench.batch), bench.seq)};
}

std::string shape_name(const BenchOptions& bench) {
  return bench.model.empty() ? bench.shape : bench.model.string();
}

Json kernel_list(const std::vector<KernelBenchResult>& results) {
  Json kernels = Json::array();
  for (const KernelBenchResult& result : results) {
    Json kernel = {{"kernel", result.kernel}, {"shape", result.shape}, {"milliseconds", result.milliseconds}};
    if (result.gflops > 0) kernel["gflops"] = result.gflops;
    if (result.gbs > 0) kernel["gbs"] = result.gbs;
    kernel["roof_share"] = result.roof_share;
    kernels.push_back(kernel);
  }
  return kernels;
}

std::string kernel_table(const std::vector<KernelBenchResult>& results) {
  TableRows rows = {{"kernel", "shape", "ms", "GFLOP/s", "GB/s", "share of roof"}};
  for (const KernelBenchResult& result : results) {
    rows.push_back({result.kernel, result.shape, fmt::format("{:.3f}", result.milliseconds),
                    result.gflops > 0 ? fmt::format("{:.0f}", result.gflops) : "",
                    result.gbs > 0 ? fmt::format("{:.1f}", result.gbs) : "",
                    fmt::format("{:.2f}", result.roof_share)});
  }
  return format_table(rows);
}

Json step_document(const BenchOptions& bench, const StepBenchResult& result) {
  return {{"shape", shape_name(bench)},
          {"method", bench.method.options.method},
          {"precision", bench.common.precision_name},
          {"last_layer_cls_only", bench.last_layer_cls_only},
          {"ms_per_step", result.ms_per_step},
          {"tokens_per_second", result.tokens_per_second},
          {"needed_gflops", result.needed_gflops},
          {"roof_gflops", result.roof_gflops},
          {"roof_share", result.roof_share},
          {"peak_rss_bytes", result.peak_rss_bytes},
          {"peak_device_bytes", result.peak_device_bytes ? Json(*result.peak_device_bytes) : Json()},
          {"peak_reserved_bytes", result.peak_reserved_bytes ? Json(*result.peak_reserved_bytes) : Json()},
          {"saved_bytes_per_token_layer", result.saved_bytes_per_token_layer},
          {"trainable_parameters", result.trainable_parameters},
          {"total_parameters", result.total_parameters}};
}

StepBenchResult time_steps(const BenchOptions& bench, const BertConfig& config) {
  return bench_step({.config = config,
                     .method = resolve_method(bench.method, bench.common.seed),
                     .dtype = use_precision(bench.common.precision(), bench.common.device()),
                     .device = bench.common.device(),
                     .last_layer_cls_only = bench.last_layer_cls_only,
                     .cuda_graphs = bench.cuda_graphs,
                     .batches = batches_of(bench, config),
                     .repeats = bench.repeats,
                     .seed = bench.common.seed});
}

std::string in_megabytes(int64_t bytes) {
  return fmt::format("{:.0f} MB", static_cast<double>(bytes) / 1e6);
}

std::string step_table(const BenchOptions& bench, const BertConfig& config, const StepBenchResult& result) {
  TableRows rows = {
      {"training step", fmt::format("{}, {}", shape_name(bench), bench.method.options.method)},
      {"time", fmt::format("{:.1f} ms", result.ms_per_step)},
      {"tokens per second", with_thousands(static_cast<int64_t>(result.tokens_per_second))},
      {"share of the roof", fmt::format("{:.2f} of {:.0f} GFLOP/s", result.roof_share, result.roof_gflops)},
      {"peak memory", in_megabytes(result.peak_rss_bytes)},
      {"kept for backward",
       fmt::format("{:.0f} bytes per token and layer ({:.1f} x hidden size)",
                   result.saved_bytes_per_token_layer,
                   result.saved_bytes_per_token_layer / static_cast<double>(config.hidden_size))},
      {"trainable parameters", with_thousands(result.trainable_parameters)},
  };
  if (result.peak_device_bytes) {
    rows.push_back({"peak memory of tensors on the device", in_megabytes(*result.peak_device_bytes)});
  }
  return format_table(rows);
}

}  // namespace

int run_bench(Arguments arguments) {
  BenchOptions bench;
  Options options("bench",
                  "Times whole training steps, or kernels, against what this machine can do at best.");
  declare(options, bench);
  if (!options.parse(arguments)) return 0;
  if (options.given("shape") && !bench.model.empty()) {
    fail(ErrorKind::usage, "--shape: give either a shape or MODEL, not both ({})", options.see_help());
  }
  apply_common_options(bench.common);
  const BertConfig config = config_of(bench);
  const StepBenchResult step = time_steps(bench, config);
  const Console console = bench.common.console();
  console.result(step_table(bench, config, step));
  Json document = step_document(bench, step);
  if (bench.kernels) {
    const std::vector<KernelBenchResult> kernels =
        bench_kernels(config, bench.batch, bench.seq, bench.repeats, bench.common.device());
    console.result("\n" + kernel_table(kernels));
    document["kernels"] = kernel_list(kernels);
  }
  console.document(document);
  return 0;
}

}  // namespace normtune
