#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/method.h"
#include "nn/bert.h"

namespace normtune {

/// The configuration of a bench shape: tiny, minilm, base or large (vocabulary 30,522).
/// Throws Error(usage) naming the nearest shape.
BertConfig bench_shape(std::string_view name);

struct StepBenchOptions {
  BertConfig config;
  MethodOptions method;
  DType dtype = DType::float32;
  Device device;
  bool last_layer_cls_only = true;
  bool cuda_graphs = true;  ///< see CapturedSteps
  /// Sequence lengths of each batch; the batches are run in turn.
  std::vector<std::vector<int64_t>> batches;
  int64_t repeats = 7;  ///< timed passes over the batches, after one that is discarded (on a device two)
  uint64_t seed = 42;
};

struct StepBenchResult {
  double ms_per_step = 0;        ///< median over all timed steps
  double tokens_per_second = 0;  ///< tokens of a pass over the batches / the median time of a pass
  double needed_gflops = 0;      ///< work that one pass needs (step_work.h), in 1e9 floating-point operations
  double roof_gflops = 0;        ///< what this machine's multiply-add units give, measured in the same run
  double roof_share = 0;
  double saved_bytes_per_token_layer = 0;  ///< kept for backward; averaged over the layers
  int64_t trainable_parameters = 0;
  int64_t total_parameters = 0;
  int64_t peak_rss_bytes = 0;                  ///< VmHWM of the process
  std::optional<int64_t> peak_device_bytes;    ///< of tensors; none on the CPU
  std::optional<int64_t> peak_reserved_bytes;  ///< with what the allocator keeps; none on the CPU
};

/// Times whole training steps (forward, backward, gradient norm, AdamW) of a randomly initialised classifier
/// with its configured dropout, on random token ids.
StepBenchResult bench_step(const StepBenchOptions& options);

struct KernelBenchResult {
  std::string kernel;
  std::string shape;
  double milliseconds = 0;  ///< median
  double gflops = 0;        ///< of matrix products, else 0
  double gbs = 0;  ///< of memory-bound kernels: bytes that must be read or written / time / 1e9, else 0
  double roof_share = 0;  ///< of the measured multiply-add rate, or of the measured copy rate
};

/// Times the kernels of a step at the sizes of `config`, for `num_sequences` of `seq_len` tokens each.
std::vector<KernelBenchResult> bench_kernels(const BertConfig& config, int64_t num_sequences, int64_t seq_len,
                                             int64_t repeats, Device device = {});

/// Reads one sequence length per line and cuts the list into batches of `batch_size`, in file order.
/// Throws Error(data) naming file and line.
std::vector<std::vector<int64_t>> read_length_batches(const std::string& path, int64_t batch_size,
                                                      int64_t max_position_embeddings);

}  // namespace normtune
