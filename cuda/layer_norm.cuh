#pragma once

#include <type_traits>
#include <utility>

#include "cuda/dropout.cuh"
#include "cuda/reductions.cuh"

// A block has a row at a time, and keeps it in registers from the only time that it is read to the only time
// that its results are written. T is float or bfloat16, Access how its fours are read and written.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// Threads of a block, and fours of a thread, at most.
constexpr int max_layer_norm_threads = 512, max_own_fours = 4;

/// A thread has the fours threadIdx.x, threadIdx.x + blockDim.x, ... of a row; this is where number i begins.
__device__ inline int own_channel(int i) {
  return static_cast<int>(4 * (threadIdx.x + i * blockDim.x));
}

/// Reads a thread's fours of a row; zeros beyond its end.
template <int fours, typename T, typename Access>
__device__ inline void load_own(const Access& access, const T* row, int columns, Four (&own)[fours]) {
  for (int i = 0; i < fours; ++i) {
    const int channel = own_channel(i), left = columns - channel;
    own[i] = left > 0 ? access.load(row + channel, left) : Four{};
  }
}

template <int fours, typename T, typename Access>
__device__ inline void store_own(const Access& access, T* row, int columns, const Four (&own)[fours]) {
  for (int i = 0; i < fours; ++i) {
    const int channel = own_channel(i), left = columns - channel;
    if (left > 0) access.store(row + channel, own[i], left);
  }
}

template <int fours>
__device__ inline void add_to(Four (&sum)[fours], const Four (&added)[fours]) {
  for (int i = 0; i < fours; ++i) {
    for (int k = 0; k < 4; ++k) sum[i][k] += added[i][k];
  }
}

/// Applies a row's mask to a thread's fours of it.
template <int fours>
__device__ inline void drop_own(const DropoutArguments& mask, int64_t row, Four (&own)[fours]) {
  for (int i = 0; i < fours; ++i) own[i] = drop_four(mask, row, own_channel(i) / 4, own[i]);
}

/// Calls body(number of fours of a thread as a constant, access, threads of a block) for rows of so many
/// columns. Threads of wide rows have several fours: more reads are on their way at a time, and fewer warps
/// wait for each other.
template <typename Body>
void with_own_fours(FourAccess access, int64_t columns, const Body& body) {
  constexpr int64_t widest = 4 * max_own_fours * max_layer_norm_threads;
  if (columns > widest) {
    fail(ErrorKind::usage, "layer_norm on a CUDA device: expected at most {} channels, found {}", widest,
         columns);
  }
  const auto call = [&](auto fours, auto kind) {
    body(fours, kind, static_cast<int>(divide_up(columns, 4 * fours() * warp_size)) * warp_size);
  };
  with_access(access, columns, [&]<typename Access>(Access kind) {
    if (columns <= 512) return call(std::integral_constant<int, 1>{}, kind);
    if (columns <= 1024) return call(std::integral_constant<int, 2>{}, kind);
    call(std::integral_constant<int, max_own_fours>{}, kind);
  });
}

/// The rows of LayerNormForward: dropout(input) + residual.
template <typename T>
struct ResidualRows {
  const T *input, *residual;  // residual may be null
  DropoutArguments mask;
  int hidden_size;

  /// A thread's fours. Those of both are on their way before one is waited for.
  template <int fours, typename Access>
  __device__ void load(const Access& access, int64_t row, Four (&sum)[fours]) const {
    const int64_t at = row * hidden_size;
    const bool has_residual = residual != nullptr;
    Four added[fours];
    load_own(access, input + at, hidden_size, sum);
    load_own(access, (has_residual ? residual : input) + at, has_residual ? hidden_size : 0, added);
    if (mask.active()) drop_own(mask, row, sum);
    add_to(sum, added);
  }
  template <int fours>
  __device__ void finish(int64_t /*row*/, Four (&/*output*/)[fours]) const {}
};

/// The rows of EmbeddingsLayerNorm: the sum of one row of each table; dropout comes after layer norm.
struct EmbeddingRows {
  static constexpr int num_tables = Backend::EmbeddingsLayerNorm::num_tables;

  const float* tables[num_tables];
  const int32_t* ids[num_tables];
  DropoutArguments mask;
  int hidden_size;

  template <int fours, typename Access>
  __device__ void load(const Access& access, int64_t row, Four (&sum)[fours]) const {
    Four rows[num_tables][fours];
    for (int t = 0; t < num_tables; ++t) {
      load_own(access, tables[t] + static_cast<int64_t>(ids[t][row]) * hidden_size, hidden_size, rows[t]);
    }
    for (int i = 0; i < fours; ++i) sum[i] = rows[0][i];
    for (int t = 1; t < num_tables; ++t) add_to(sum, rows[t]);
  }
  template <int fours>
  __device__ void finish(int64_t row, Four (&output)[fours]) const {
    if (mask.active()) drop_own(mask, row, output);
  }
};

template <typename T>
struct LayerNormForwardArguments {
  const float *weight, *bias;
  double eps;
  T *output, *normalized;  // may lie where inputs do; normalized may be null
  float* rstd;             // may be null
  int hidden_size;
  double inverse_size;  // 1 / hidden_size
};

/// The sum over a row of function(value), in every thread.
template <int fours, typename Function>
__device__ inline double row_sum(const Four (&values)[fours], int columns, const Function& function) {
  double sum = 0;
  for (int i = 0; i < fours; ++i) {
    for (int k = 0; k < 4; ++k) {
      if (own_channel(i) + k < columns) sum += function(values[i][k]);
    }
  }
  return block_sum(sum);
}

/// In every thread.
template <int fours>
__device__ inline RowStatistics<float> statistics_of_row(const Four (&values)[fours], int columns,
                                                         double inverse_size, double eps) {
  const float first = block_broadcast(values[0][0]);
  const double mean =
      inverse_size * row_sum(values, columns, [=](float value) { return from_first(value, first); });
  const double variance = inverse_size * row_sum(values, columns, [=](float value) {
                            return squared_deviation(value, first, mean);
                          });
  return row_statistics(first, mean, variance, eps);
}

/// Rows says what is normalized.
template <int fours, typename Rows, typename T, typename Access>
__global__ void __launch_bounds__(max_layer_norm_threads)
    layer_norm_forward_kernel(Rows rows, LayerNormForwardArguments<T> args, Access access) {
  const int64_t row = blockIdx.x, at = row * args.hidden_size;
  Four values[fours], weight[fours], bias[fours];
  rows.load(access, row, values);
  const RowStatistics statistics = statistics_of_row(values, args.hidden_size, args.inverse_size, args.eps);
  for (Four& four : values) {
    for (int k = 0; k < 4; ++k) four[k] = normalize(four[k], statistics);
  }
  if (args.normalized != nullptr) store_own(access, args.normalized + at, args.hidden_size, values);
  load_own(access, args.weight, args.hidden_size, weight);
  load_own(access, args.bias, args.hidden_size, bias);
  for (int i = 0; i < fours; ++i) {
    for (int k = 0; k < 4; ++k) values[i][k] = values[i][k] * weight[i][k] + bias[i][k];
  }
  rows.finish(row, values);
  store_own(access, args.output + at, args.hidden_size, values);
  if (args.rstd != nullptr && threadIdx.x == 0) args.rstd[row] = statistics.rstd;
}

/// `args` is a LayerNormForward or an EmbeddingsLayerNorm, `inputs` are the addresses from which `rows`
/// reads.
template <typename T, typename Launcher, typename Rows, typename Args, typename... Inputs>
void normalize_rows(const Launcher& launch, const Rows& rows, const Args& args, const Inputs*... inputs) {
  const int64_t hidden_size = args.weight.numel(), num_rows = args.output.numel() / hidden_size;
  const LayerNormForwardArguments<T> arguments{.weight = floats(args.weight),
                                               .bias = floats(args.bias),
                                               .eps = args.eps,
                                               .output = args.output.template data<T>(),
                                               .normalized = elements<T>(args.normalized),
                                               .rstd = floats(args.rstd),
                                               .hidden_size = static_cast<int>(hidden_size),
                                               .inverse_size = 1 / static_cast<double>(hidden_size)};
  const FourAccess access = four_access(hidden_size, inputs..., arguments.weight, arguments.bias,
                                        arguments.output, arguments.normalized);
  with_own_fours(access, hidden_size, [&]<typename Fours, typename Access>(Fours, Access kind, int threads) {
    launch(layer_norm_forward_kernel<Fours::value, Rows, T, Access>,
           Grid{.blocks = num_rows, .threads = threads}, rows, arguments, kind);
  });
}

template <typename Launcher>
void layer_norm_forward(const Launcher& launch, const Backend::LayerNormForward& args) {
  with_activation_type(args.input.dtype(), [&]<typename T>(T) {
    const ResidualRows<T> rows{.input = args.input.data<T>(),
                               .residual = elements<T>(args.residual),
                               .mask = dropout_arguments(args.mask),
                               .hidden_size = static_cast<int>(args.weight.numel())};
    normalize_rows<T>(launch, rows, args, rows.input, rows.residual);
  });
}

template <typename Launcher>
void embeddings_layer_norm(const Launcher& launch, const Backend::EmbeddingsLayerNorm& args) {
  EmbeddingRows rows{.tables = {},
                     .ids = {},
                     .mask = dropout_arguments(args.mask),
                     .hidden_size = static_cast<int>(args.weight.numel())};
  for (int t = 0; t < EmbeddingRows::num_tables; ++t) {
    rows.tables[t] = floats(args.tables[t].rows);
    rows.ids[t] = args.tables[t].ids.template data<int32_t>();
  }
  normalize_rows<float>(launch, rows, args, rows.tables[0], rows.tables[1], rows.tables[2]);
}

/// Rows of a block in the backward pass: 512 blocks for 4,096 tokens.
constexpr int64_t backward_rows = 8;

/// Those that a block works on at the same time: as many as find room in its registers.
template <int fours>
constexpr int rows_at_once = fours < max_own_fours ? 2 : 1;

template <typename T>
struct LayerNormBackwardArguments {
  const T *grad_output, *normalized;
  const float *rstd, *weight;
  DropoutArguments mask;
  T *grad_input, *grad_residual;                        // either may be null, or lie where grad_output does
  float *partial_weight, *partial_bias, *partial_sums;  // the sums over the rows of a block; or null
  int64_t num_rows, partial_ld;
  int hidden_size;
  double inverse_size;  // 1 / hidden_size

  __device__ bool needs_grad_sum() const { return grad_input != nullptr || grad_residual != nullptr; }
};

/// A thread's fours of some rows.
template <int fours>
struct BackwardRows {
  static constexpr int count = rows_at_once<fours>;
  Four grad_output[count][fours], normalized[count][fours];

  /// Rows from `end` on are zero.
  template <typename T, typename Access>
  __device__ void load(const LayerNormBackwardArguments<T>& args, const Access& access, int64_t first,
                       int64_t end) {
    for (int r = 0; r < count; ++r) {
      const int columns = first + r < end ? args.hidden_size : 0;
      const int64_t at = (first + r) * args.hidden_size;
      load_own(access, args.grad_output + at, columns, grad_output[r]);
      load_own(access, args.normalized + at, columns, normalized[r]);
    }
  }

  /// Adds the rows to the column sums.
  __device__ void add_to(Four (&grad_weight)[fours], Four (&grad_bias)[fours]) const {
    for (int r = 0; r < count; ++r) {
      for (int i = 0; i < fours; ++i) {
        for (int k = 0; k < 4; ++k) {
          grad_weight[i][k] += grad_output[r][i][k] * normalized[r][i][k];
          grad_bias[i][k] += grad_output[r][i][k];
        }
      }
    }
  }

  /// Of row r: [2 r] the sum of g, and [2 r + 1] that of g * normalized, with g = grad_output * weight.
  __device__ Sums<2 * count> sums(const Four (&weight)[fours]) const {
    Sums<2 * count> sums{};
    for (int r = 0; r < count; ++r) {
      for (int i = 0; i < fours; ++i) {
        for (int k = 0; k < 4; ++k) {
          const float g = grad_output[r][i][k] * weight[i][k];
          sums[2 * r] += static_cast<double>(g);
          sums[2 * r + 1] += static_cast<double>(g * normalized[r][i][k]);
        }
      }
    }
    return block_sum(sums);
  }

  /// grad_sum = rstd * (g - mean(g) - normalized * mean(g * normalized)) of row r.
  __device__ void grad_sum(int r, const Four (&weight)[fours], float rstd, float mean_g,
                           float mean_g_normalized, Four (&result)[fours]) const {
    for (int i = 0; i < fours; ++i) {
      for (int k = 0; k < 4; ++k) {
        result[i][k] = normalize_backward(grad_output[r][i][k] * weight[i][k], normalized[r][i][k], rstd,
                                          mean_g, mean_g_normalized);
      }
    }
  }
};

/// Writes the gradients of residual and input for one row, and leaves the latter, if it is wanted, in
/// grad_sum.
template <int fours, typename T, typename Access>
__device__ inline void store_gradients(const LayerNormBackwardArguments<T>& args, const Access& access,
                                       int64_t row, Four (&grad_sum)[fours]) {
  const int64_t at = row * args.hidden_size;
  if (args.grad_residual != nullptr) store_own(access, args.grad_residual + at, args.hidden_size, grad_sum);
  if (args.grad_input == nullptr) return;
  if (args.mask.active()) drop_own(args.mask, row, grad_sum);
  store_own(access, args.grad_input + at, args.hidden_size, grad_sum);
}

template <int fours, typename T, typename Access>
__device__ inline void backward_of_rows(const LayerNormBackwardArguments<T>& args, const Access& access,
                                        const BackwardRows<fours>& rows, const Four (&weight)[fours],
                                        int64_t first, int64_t end, Four (&column_sums)[fours]) {
  const auto sums = rows.sums(weight);
  for (int r = 0; r < rows.count; ++r) {
    if (first + r >= end) return;
    const auto mean_g = static_cast<float>(sums[2 * r] * args.inverse_size);
    const auto mean_g_normalized = static_cast<float>(sums[2 * r + 1] * args.inverse_size);
    Four grad_sum[fours];
    rows.grad_sum(r, weight, args.rstd[first + r], mean_g, mean_g_normalized, grad_sum);
    store_gradients(args, access, first + r, grad_sum);
    for (int i = 0; i < fours; ++i) {
      for (int k = 0; k < 4; ++k) column_sums[i][k] += grad_sum[i][k];
    }
  }
}

/// All gradients in one pass over the rows of a block, whose column sums stay in registers.
template <int fours, typename T, typename Access>
__global__ void __launch_bounds__(max_layer_norm_threads)
    layer_norm_backward_kernel(LayerNormBackwardArguments<T> args, Access access) {
  const int64_t begin = blockIdx.x * backward_rows;
  const int64_t end = begin + backward_rows < args.num_rows ? begin + backward_rows : args.num_rows;
  Four weight[fours], grad_weight[fours] = {}, grad_bias[fours] = {}, column_sums[fours] = {};
  load_own(access, args.weight, args.hidden_size, weight);
  for (int64_t first = begin; first < end; first += rows_at_once<fours>) {
    BackwardRows<fours> rows;
    rows.load(args, access, first, end);
    rows.add_to(grad_weight, grad_bias);
    if (args.needs_grad_sum()) backward_of_rows(args, access, rows, weight, first, end, column_sums);
  }
  const int64_t at = blockIdx.x * args.partial_ld;
  if (args.partial_weight != nullptr) {
    store_own(access, args.partial_weight + at, args.hidden_size, grad_weight);
  }
  if (args.partial_bias != nullptr) store_own(access, args.partial_bias + at, args.hidden_size, grad_bias);
  if (args.partial_sums != nullptr) store_own(access, args.partial_sums + at, args.hidden_size, column_sums);
}

template <typename T, typename Launcher>
void layer_norm_backward_of(const Launcher& launch, const Backend::LayerNormBackward& args) {
  const int64_t hidden_size = args.weight.numel(), num_rows = args.grad_output.numel() / hidden_size;
  const int64_t pieces = divide_up(num_rows, backward_rows);
  SideBySide results;
  for (const Tensor* result : {args.grad_weight, args.grad_bias, args.column_sums}) {
    if (result != nullptr) results.add(floats(*result), hidden_size);
  }
  const Tensor partial = Tensor::empty({pieces, results.columns()}, DType::float32, launch.device);
  float* next_partial = floats(partial);
  const auto partial_of = [&](const Tensor* result) {
    return result == nullptr ? nullptr : std::exchange(next_partial, next_partial + hidden_size);
  };
  const LayerNormBackwardArguments<T> arguments{.grad_output = args.grad_output.data<T>(),
                                                .normalized = args.normalized.data<T>(),
                                                .rstd = floats(args.rstd),
                                                .weight = floats(args.weight),
                                                .mask = dropout_arguments(args.mask),
                                                .grad_input = elements<T>(args.grad_input),
                                                .grad_residual = elements<T>(args.grad_residual),
                                                .partial_weight = partial_of(args.grad_weight),
                                                .partial_bias = partial_of(args.grad_bias),
                                                .partial_sums = partial_of(args.column_sums),
                                                .num_rows = num_rows,
                                                .partial_ld = results.columns(),
                                                .hidden_size = static_cast<int>(hidden_size),
                                                .inverse_size = 1 / static_cast<double>(hidden_size)};
  const FourAccess access =
      four_access(hidden_size, arguments.grad_output, arguments.normalized, arguments.weight,
                  arguments.grad_input, arguments.grad_residual, floats(partial));
  with_own_fours(access, hidden_size, [&]<typename Fours, typename Access>(Fours, Access kind, int threads) {
    launch(layer_norm_backward_kernel<Fours::value, T, Access>, Grid{.blocks = pieces, .threads = threads},
           arguments, kind);
  });
  sum_partial_rows(launch, partial, results);
}

template <typename Launcher>
void layer_norm_backward(const Launcher& launch, const Backend::LayerNormBackward& args) {
  with_activation_type(args.grad_output.dtype(),
                       [&]<typename T>(T) { layer_norm_backward_of<T>(launch, args); });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
