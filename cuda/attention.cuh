#pragma once

#include "cuda/dropout.cuh"
#include "cuda/formulas.cuh"

// Packed attention, tile by tile: a block has some query rows (or, for the gradients of key and value, some
// key rows) of one sequence and head, and walks through the other side's rows a tile at a time. Scores exist
// in shared memory only. Letters: d = size of a head, t = rows of a tile, at most one for each lane of a
// warp.
//
// Forward keeps the running maximum m and sum l of each query row (Milakov & Gimelshein 2018,
// arXiv:1805.02867): when a tile raises m, what was summed before shrinks by exp(m_before - m).
//
// These kernels read and write float32. Heads in bfloat16 that cuda/attention_tensor_cores.cuh does not take
// are converted, and the results rounded.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// Rows of a matrix, seen head by head.
template <typename T>
struct Heads {
  T* data = nullptr;
  int64_t ld = 0;

  /// Where a head's part of a row begins.
  __device__ T* row(int64_t row, int64_t head, int64_t d) const { return data + row * ld + head * d; }
};

template <typename T>
Heads<T> heads_of(const MatrixRef& matrix) {
  return {matrix.as<T>(), matrix.ld};
}

/// What the kernels of attention share. T is what the rows of heads are in.
template <typename T>
struct AttentionArguments {
  Heads<T> query, key, value, grad_context;
  const int32_t *query_cu_seqlens, *cu_seqlens;
  int64_t batch, num_heads, d;
  int t;
  float factor;  // 1 / sqrt(d)
  DropoutArguments mask;
  float* log_sum_exp;  // [num_queries, num_heads]; may be null in forward
  float* row_dots;     // [num_queries, num_heads], of backward: sum over keys of probs * grad_probs
};

/// A run of at most t rows of a sequence, and where the sequence's queries and keys lie.
struct Tile {
  int64_t begin = 0, rows = 0;  // in the packed rows; no rows: the block has nothing to do
  int64_t query_begin = 0, query_end = 0, key_begin = 0, key_end = 0;
};

/// The tile with the number `tile` when each sequence [cu_seqlens[s], cu_seqlens[s + 1]) is cut into tiles.
template <typename T>
__device__ Tile find_tile(const int32_t* cu_seqlens, const AttentionArguments<T>& args, int64_t tile) {
  for (int64_t s = 0; s < args.batch; ++s) {
    const int64_t begin = cu_seqlens[s], length = cu_seqlens[s + 1] - begin;
    const int64_t tiles = (length + args.t - 1) / args.t;
    if (tile < tiles) {
      const int64_t offset = tile * args.t;
      return {.begin = begin + offset,
              .rows = length - offset < args.t ? length - offset : args.t,
              .query_begin = args.query_cu_seqlens[s],
              .query_end = args.query_cu_seqlens[s + 1],
              .key_begin = args.cu_seqlens[s],
              .key_end = args.cu_seqlens[s + 1]};
    }
    tile -= tiles;
  }
  return {};
}

/// At least as many as find_tile finds, known without looking at the lengths.
inline int64_t most_tiles(int64_t num_rows, int64_t batch, int t) {
  return num_rows / t + batch;
}

/// A tile [t, d] in shared memory. Rows lie d + 1 apart, so that the lanes of a warp, each with a row of its
/// own, meet different banks.
struct SharedTile {
  float* data;
  int64_t ld;

  __device__ float* row(int i) const { return data + i * ld; }
};

/// Cuts the dynamic shared memory into tiles.
struct SharedTiles {
  float* next = dynamic_shared();
  int64_t d;
  int t;

  __device__ SharedTile take() {
    const SharedTile tile{next, d + 1};
    next += t * (d + 1);
    return tile;
  }
  /// A tile of scores [t, t].
  __device__ SharedTile take_scores() {
    const SharedTile tile{next, t + 1};
    next += t * (t + 1);
    return tile;
  }
};

/// The shared memory of a block, in bytes.
inline int64_t shared_tile_bytes(int64_t tiles, int64_t score_tiles, int64_t d, int t) {
  return static_cast<int64_t>(sizeof(float)) * t * (tiles * (d + 1) + score_tiles * (t + 1));
}

/// The largest tile that fits. Throws Error(usage) for heads that no tile fits.
inline int tile_rows_for(int64_t tiles, int64_t score_tiles, int64_t d) {
  for (int t = warp_size; t > 0; t /= 2) {
    if (shared_tile_bytes(tiles, score_tiles, d, t) <= max_shared_bytes) return t;
  }
  fail(ErrorKind::usage, "attention: heads of size {} are too large for a CUDA device; use --device cpu", d);
}

__device__ inline void load_rows(const Heads<float>& source, int64_t begin, int64_t rows, int64_t head,
                                 int64_t d, const SharedTile& tile) {
  for (int64_t i = threadIdx.x; i < rows * d; i += blockDim.x) {
    tile.row(static_cast<int>(i / d))[i % d] = source.row(begin + i / d, head, d)[i % d];
  }
}

__device__ inline void clear_rows(int rows, int64_t d, const SharedTile& tile) {
  for (int64_t i = threadIdx.x; i < rows * d; i += blockDim.x) tile.row(static_cast<int>(i / d))[i % d] = 0.f;
}

__device__ inline float dot(const float* a, const float* b, int64_t d) {
  float sum = 0;
  for (int64_t c = 0; c < d; ++c) sum += a[c] * b[c];
  return sum;
}

/// What dropout makes of the probability of a key for a query row; `key` counts from the sequence's first.
__device__ inline float drop_prob(float value, const DropoutArguments& mask, int64_t row, int64_t head,
                                  int64_t key) {
  if (!mask.active()) return value;
  return mask.apply(value, dropout_words(mask, row, key / 4, head)[key % 4]);
}

/// sums[i] += sum over j < rows of weights[i][j] * values[j], for the rows i < own_rows of a tile.
__device__ inline void add_weighted_rows(const SharedTile& weights, int64_t own_rows,
                                         const SharedTile& values, int64_t rows, int64_t d,
                                         const SharedTile& sums) {
  for (int64_t at = threadIdx.x; at < own_rows * d; at += blockDim.x) {
    const int i = static_cast<int>(at / d);
    const int64_t c = at % d;
    float sum = sums.row(i)[c];
    for (int j = 0; j < rows; ++j) sum += weights.row(i)[j] * values.row(j)[c];
    sums.row(i)[c] = sum;
  }
}

/// One tile of keys in forward: probs[i][j] = dropout(exp(score - m)), not yet divided by l. A warp has a
/// query row at a time, a lane a key. What was summed before is shrunk.
__device__ inline void forward_scores(const AttentionArguments<float>& args, const Tile& own, int64_t head,
                                      int64_t key_begin, int64_t keys, const SharedTile& query,
                                      const SharedTile& key, const SharedTile& probs,
                                      const SharedTile& context, float* max, float* total) {
  const int lane = threadIdx.x % warp_size;
  for (int i = threadIdx.x / warp_size; i < own.rows; i += blockDim.x / warp_size) {
    const float score = lane < keys ? args.factor * dot(query.row(i), key.row(lane), args.d) : -INFINITY;
    // Lane 0 alone reads what it writes below: shuffles do not order the memory of other lanes.
    const float before = warp_max(lane == 0 ? max[i] : -INFINITY), now = larger(before, warp_max(score));
    const float prob = exponential(score - now), shrink = exponential(before - now);
    const float sum = warp_sum(lane < keys ? prob : 0.f);
    if (lane < keys) {
      probs.row(i)[lane] = drop_prob(prob, args.mask, own.begin + i, head, key_begin - own.key_begin + lane);
    }
    for (int64_t c = lane; c < args.d; c += warp_size) context.row(i)[c] *= shrink;
    if (lane == 0) {
      max[i] = now;
      total[i] = total[i] * shrink + sum;
    }
  }
}

static __global__ void attention_forward_kernel(AttentionArguments<float> args, float* context) {
  __shared__ float max[warp_size], total[warp_size];
  const int64_t head = blockIdx.y, d = args.d;
  const Tile own = find_tile(args.query_cu_seqlens, args, blockIdx.x);
  if (own.rows == 0) return;
  SharedTiles shared{.d = d, .t = args.t};
  const SharedTile query = shared.take(), key = shared.take(), value = shared.take(), sums = shared.take();
  const SharedTile probs = shared.take_scores();
  load_rows(args.query, own.begin, own.rows, head, d, query);
  clear_rows(args.t, d, sums);
  if (threadIdx.x < warp_size) {
    max[threadIdx.x] = -INFINITY;
    total[threadIdx.x] = 0.f;
  }
  for (int64_t begin = own.key_begin; begin < own.key_end; begin += args.t) {
    const int64_t keys = own.key_end - begin < args.t ? own.key_end - begin : args.t;
    __syncthreads();  // nobody still reads the last tile
    load_rows(args.key, begin, keys, head, d, key);
    load_rows(args.value, begin, keys, head, d, value);
    __syncthreads();
    forward_scores(args, own, head, begin, keys, query, key, probs, sums, max, total);
    __syncthreads();
    add_weighted_rows(probs, own.rows, value, keys, d, sums);
  }
  __syncthreads();
  for (int64_t at = threadIdx.x; at < own.rows * d; at += blockDim.x) {
    const int i = static_cast<int>(at / d);
    const float inverse = total[i] > 0.f ? 1.f / total[i] : total[i];  // a query without keys has context 0
    context[(own.begin + i) * args.num_heads * d + head * d + at % d] = sums.row(i)[at % d] * inverse;
  }
  if (args.log_sum_exp == nullptr) return;
  for (int i = threadIdx.x; i < own.rows; i += blockDim.x) {
    args.log_sum_exp[(own.begin + i) * args.num_heads + head] =
        static_cast<float>(static_cast<double>(max[i]) + ::log(static_cast<double>(total[i])));
  }
}

/// What backward recomputes for a query row and a key.
struct ScoreGradient {
  float prob = 0, dropped_prob = 0;
  float grad_prob = 0;  // of the probability before dropout
};

__device__ inline ScoreGradient score_gradient(const AttentionArguments<float>& args, const float* query,
                                               const float* grad_context, const float* key,
                                               const float* value, int64_t row, int64_t head,
                                               int64_t key_position) {
  const float score = args.factor * dot(query, key, args.d);
  const float prob = exponential(score - args.log_sum_exp[row * args.num_heads + head]);
  const float grad = dot(grad_context, value, args.d);
  return {prob, drop_prob(prob, args.mask, row, head, key_position),
          drop_prob(grad, args.mask, row, head, key_position)};
}

/// row_dots and grad_query of some query rows. The dots need all keys before the first gradient: the keys
/// pass twice.
static __global__ void attention_backward_query_kernel(AttentionArguments<float> args,
                                                       Heads<float> grad_query) {
  __shared__ float dots[warp_size];
  const int64_t head = blockIdx.y, d = args.d;
  const Tile own = find_tile(args.query_cu_seqlens, args, blockIdx.x);
  if (own.rows == 0) return;
  SharedTiles shared{.d = d, .t = args.t};
  const SharedTile query = shared.take(), grad_context = shared.take(), key = shared.take();
  const SharedTile value = shared.take(), sums = shared.take(), grad_scores = shared.take_scores();
  load_rows(args.query, own.begin, own.rows, head, d, query);
  load_rows(args.grad_context, own.begin, own.rows, head, d, grad_context);
  clear_rows(args.t, d, sums);
  if (threadIdx.x < warp_size) dots[threadIdx.x] = 0.f;
  const int lane = threadIdx.x % warp_size;
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t begin = own.key_begin; begin < own.key_end; begin += args.t) {
      const int64_t keys = own.key_end - begin < args.t ? own.key_end - begin : args.t;
      __syncthreads();  // nobody still reads the last tile
      load_rows(args.key, begin, keys, head, d, key);
      load_rows(args.value, begin, keys, head, d, value);
      __syncthreads();
      for (int i = threadIdx.x / warp_size; i < own.rows; i += blockDim.x / warp_size) {
        const ScoreGradient score =
            lane < keys ? score_gradient(args, query.row(i), grad_context.row(i), key.row(lane),
                                         value.row(lane), own.begin + i, head, begin - own.key_begin + lane)
                        : ScoreGradient{};
        if (pass == 0) {
          const float dot_of_tile = warp_sum(score.prob * score.grad_prob);
          if (lane == 0) dots[i] += dot_of_tile;
        } else if (lane < keys) {
          grad_scores.row(i)[lane] = args.factor * score.prob * (score.grad_prob - dots[i]);
        }
      }
      if (pass == 0) continue;
      __syncthreads();
      add_weighted_rows(grad_scores, own.rows, key, keys, d, sums);
    }
    __syncthreads();  // all dots are there
  }
  for (int64_t at = threadIdx.x; at < own.rows * d; at += blockDim.x) {
    grad_query.row(own.begin + at / d, head, d)[at % d] = sums.row(static_cast<int>(at / d))[at % d];
  }
  for (int i = threadIdx.x; i < own.rows; i += blockDim.x) {
    args.row_dots[(own.begin + i) * args.num_heads + head] = dots[i];
  }
}

/// grad_key and grad_value of some key rows, from all queries of their sequence.
static __global__ void attention_backward_key_kernel(AttentionArguments<float> args, Heads<float> grad_key,
                                                     Heads<float> grad_value) {
  const int64_t head = blockIdx.y, d = args.d;
  const Tile own = find_tile(args.cu_seqlens, args, blockIdx.x);
  if (own.rows == 0) return;
  SharedTiles shared{.d = d, .t = args.t};
  const SharedTile key = shared.take(), value = shared.take(), query = shared.take();
  const SharedTile grad_context = shared.take(), key_sums = shared.take(), value_sums = shared.take();
  const SharedTile grad_scores = shared.take_scores(), probs = shared.take_scores();  // [key, query]
  load_rows(args.key, own.begin, own.rows, head, d, key);
  load_rows(args.value, own.begin, own.rows, head, d, value);
  clear_rows(args.t, d, key_sums);
  clear_rows(args.t, d, value_sums);
  const int lane = threadIdx.x % warp_size;
  for (int64_t begin = own.query_begin; begin < own.query_end; begin += args.t) {
    const int64_t queries = own.query_end - begin < args.t ? own.query_end - begin : args.t;
    __syncthreads();  // nobody still reads the last tile
    load_rows(args.query, begin, queries, head, d, query);
    load_rows(args.grad_context, begin, queries, head, d, grad_context);
    __syncthreads();
    for (int i = threadIdx.x / warp_size; i < own.rows; i += blockDim.x / warp_size) {
      if (lane >= queries) continue;
      const int64_t row = begin + lane;
      const ScoreGradient score = score_gradient(args, query.row(lane), grad_context.row(lane), key.row(i),
                                                 value.row(i), row, head, own.begin - own.key_begin + i);
      const float row_dot = args.row_dots[row * args.num_heads + head];
      grad_scores.row(i)[lane] = args.factor * score.prob * (score.grad_prob - row_dot);
      probs.row(i)[lane] = score.dropped_prob;
    }
    __syncthreads();
    add_weighted_rows(grad_scores, own.rows, query, queries, d, key_sums);
    add_weighted_rows(probs, own.rows, grad_context, queries, d, value_sums);
  }
  __syncthreads();
  for (int64_t at = threadIdx.x; at < own.rows * d; at += blockDim.x) {
    const int i = static_cast<int>(at / d);
    grad_key.row(own.begin + i, head, d)[at % d] = key_sums.row(i)[at % d];
    grad_value.row(own.begin + i, head, d)[at % d] = value_sums.row(i)[at % d];
  }
}

/// The arguments that forward and backward have in common, for tiles of up to t rows.
template <typename T, typename Args>
AttentionArguments<T> attention_arguments(const Args& args, int t) {
  const int64_t d = args.query.cols / args.num_heads;
  return {.query = heads_of<T>(args.query),
          .key = heads_of<T>(args.key),
          .value = heads_of<T>(args.value),
          .query_cu_seqlens = args.query_cu_seqlens.template data<int32_t>(),
          .cu_seqlens = args.cu_seqlens.template data<int32_t>(),
          .batch = args.cu_seqlens.numel() - 1,
          .num_heads = args.num_heads,
          .d = d,
          .t = t,
          .factor = static_cast<float>(1 / std::sqrt(static_cast<double>(d))),
          .mask = dropout_arguments(args.mask)};
}

/// Backward's. `row_dots` is scratch memory, [num_queries, num_heads].
template <typename T>
AttentionArguments<T> attention_backward_arguments(const Backend::AttentionBackward& args, int t,
                                                   const Tensor& row_dots) {
  AttentionArguments<T> arguments = attention_arguments<T>(args, t);
  arguments.grad_context = heads_of<T>(args.grad_context);
  arguments.log_sum_exp = floats(args.log_sum_exp);
  arguments.row_dots = floats(row_dots);
  return arguments;
}

/// A block for each tile of rows and each head.
template <typename T>
Grid attention_grid(const AttentionArguments<T>& args, int64_t num_rows, int64_t shared_bytes) {
  return {.blocks = num_rows == 0 ? 0 : most_tiles(num_rows, args.batch, args.t),
          .blocks_y = args.num_heads,
          .threads = row_threads,
          .shared_bytes = shared_bytes};
}

template <typename Launcher>
void attention_forward(const Launcher& launch, const Backend::AttentionForward& args) {
  constexpr int64_t tiles = 4, score_tiles = 1;
  const int64_t d = args.query.cols / args.num_heads;
  const int t = tile_rows_for(tiles, score_tiles, d);
  AttentionArguments<float> arguments = attention_arguments<float>(args, t);
  arguments.log_sum_exp = floats(args.log_sum_exp);
  const int64_t shared_bytes = shared_tile_bytes(tiles, score_tiles, d, t);
  launch(attention_forward_kernel, attention_grid(arguments, args.query.rows, shared_bytes), arguments,
         floats(args.context));
}

template <typename Launcher>
void attention_backward(const Launcher& launch, const Backend::AttentionBackward& args) {
  constexpr int64_t tiles = 6, score_tiles = 2;  // of the kernel with more of them
  const int64_t d = args.query.cols / args.num_heads;
  const Tensor row_dots = Tensor::empty({args.query.rows, args.num_heads}, DType::float32, launch.device);
  const AttentionArguments<float> arguments =
      attention_backward_arguments<float>(args, tile_rows_for(tiles, score_tiles, d), row_dots);
  const int64_t shared_bytes = shared_tile_bytes(tiles, score_tiles, d, arguments.t);
  launch(attention_backward_query_kernel, attention_grid(arguments, args.query.rows, shared_bytes), arguments,
         heads_of<float>(args.grad_query));
  launch(attention_backward_key_kernel, attention_grid(arguments, args.key.rows, shared_bytes), arguments,
         heads_of<float>(args.grad_key), heads_of<float>(args.grad_value));
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
