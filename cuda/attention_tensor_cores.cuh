#pragma once

#include "cuda/attention.cuh"
#include "cuda/tensor_cores.cuh"

// Packed attention on tensor cores, of tensors in bfloat16 and for heads of d = 16, 32, ..., 128 channels.
// Sums, softmax and its statistics are float32. For each sequence and head, with C the context, dX the
// gradient of X, and drop() what dropout makes of a probability:
//
//   S = Q K^T / sqrt(d),  m = rowmax S,  l = rowsum exp(S - m),  L = m + log l
//   C = drop(exp(S - m)) V / l
//
//   P = exp(S - L),  dP = drop(dC V^T),  r = rowsum(P dP),  dS = P (dP - r) / sqrt(d)
//   dQ = dS K;  dK = dS^T Q,  dV = drop(P)^T dC
//
// A block has up to 64 rows of a sequence and head: of queries, or for dK and dV of keys. Each of its four
// warps has 16 of them, which it keeps in registers as left factors. The other side's rows pass through
// shared memory in tiles of up to 64, so that a sequence of up to 64 tokens is one tile. A warp multiplies
// its rows by 16 of a tile's at a time: the result, [16, 16] of S or of dP (in the kernel of dK and dV of
// S^T and dP^T), becomes exp(S - m), dS, ... in the registers where it is, and then, rounded, the left
// factor of the product with the same 16 rows of the tile:
//
//                        rows of the tile [16, d]
//                       transposed |        | as they are
//   own rows [16, d]  ->  [16, 16] of S  ->  added to [16, d] of C, dQ, dK or dV
//
// Rows that complete a tile's last 16 are zero, and as keys have probability 0. Rows that complete a warp's
// 16 are computed as if they were zero, and not stored.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

using BfloatAttention = AttentionArguments<bfloat16>;

constexpr int rows_of_warp = 16, rows_of_step = 16, rows_of_block = row_threads / warp_size * rows_of_warp;

/// The rows of a tile that belong to this warp. Warps beyond the tile's end have none.
struct WarpRows {
  int in_tile;    // number of the first one
  int64_t begin;  // its place in the packed rows
  int64_t count;

  __device__ explicit WarpRows(const Tile& tile)
      : in_tile(static_cast<int>(threadIdx.x / warp_size) * rows_of_warp),
        begin(tile.begin + in_tile),
        count(tile.rows - in_tile) {}
};

/// Rows of heads in bfloat16. They are read and written 4 and 16 bytes at a time where rows lie at multiples
/// of 16 bytes, as heads of 16, 32, ... channels do unless their matrix begins elsewhere; else 2 bytes.
struct BfloatHeads : Heads<bfloat16> {
  bool is_aligned;

  __device__ BfloatHeads(const Heads<bfloat16>& heads)
      : Heads(heads), is_aligned(reinterpret_cast<uintptr_t>(data) % 16 == 0 && ld % 8 == 0) {}

  /// The elements from[0] and from[1], of an even column.
  __device__ uint32_t load_pair(const bfloat16* from) const {
    return is_aligned ? *reinterpret_cast<const uint32_t*>(from)
                      : from[0].bits | uint32_t{from[1].bits} << 16;
  }

  __device__ void store_pair(bfloat16* to, uint32_t pair) const {
    if (is_aligned) {
      *reinterpret_cast<uint32_t*>(to) = pair;
    } else {
      to[0].bits = static_cast<uint16_t>(pair);
      to[1].bits = static_cast<uint16_t>(pair >> 16);
    }
  }
};

/// A warp's rows as left factors.
template <int d>
struct LeftRows {
  LeftFragment steps[d / 16];

  __device__ LeftRows(const BfloatHeads& source, const WarpRows& rows, int64_t head) {
    NORMTUNE_UNROLL
    for (int step = 0; step < d / 16; ++step) {
      steps[step] = left_fragment([&](int row, int column) {
        if (row >= rows.count) return uint32_t{0};
        return source.load_pair(source.row(rows.begin + row, head, d) + 16 * step + column);
      });
    }
  }
};

/// own rows * tile[first_row ... first_row + 15]^T
template <int d>
__device__ Accumulator multiply_transposed(const LeftRows<d>& own, const BfloatTile<d>& tile, int first_row) {
  Accumulator product;
  NORMTUNE_UNROLL
  for (int step = 0; step < d / 16; ++step) {
    multiply_add(own.steps[step], tile.transposed_fragment(first_row, 16 * step), product);
  }
  return product;
}

/// Sums [16, d] of a warp. A lane has elements of two rows: number i is row lane_group() + 8 * i.
template <int d>
struct WeightedSums {
  Accumulator steps[d / 16];

  /// += left * tile[first_row ... first_row + 15]
  __device__ void add_product(const LeftFragment& left, const BfloatTile<d>& tile, int first_row) {
    NORMTUNE_UNROLL
    for (int step = 0; step < d / 16; ++step) {
      multiply_add(left, tile.fragment(first_row, 16 * step), steps[step]);
    }
  }

  __device__ void scale(const float (&factors)[2]) {
    NORMTUNE_UNROLL
    for (int step = 0; step < d / 16; ++step) {
      for (int e = 0; e < Accumulator::size; ++e) steps[step].elements[e] *= factors[Accumulator::half(e)];
    }
  }

  /// Rounds the sums; of two neighbouring columns at once, as a left fragment would have them.
  __device__ void store(const BfloatHeads& to, const WarpRows& rows, int64_t head) const {
    NORMTUNE_UNROLL
    for (int step = 0; step < d / 16; ++step) {
      for (int e = 0; e < Accumulator::size; e += 2) {
        const int row = Accumulator::row(e), column = 16 * step + Accumulator::column(e);
        const float* pair = steps[step].elements + e;
        if (row < rows.count) {
          to.store_pair(to.row(rows.begin + row, head, d) + column, pack_bfloat16(pair[0], pair[1]));
        }
      }
    }
  }
};

/// What dropout keeps of the probabilities of a tile of queries and a tile of keys, in shared memory: four
/// bits for the four keys of a Philox counter.
struct KeptProbs {
  static constexpr int groups = rows_of_block / 4;
  static constexpr int64_t bytes = rows_of_block * groups;
  uint8_t* bits;  // [rows_of_block, groups]

  /// By all threads of a block. `key_position` is that of the first key in its sequence, a multiple of 4.
  __device__ void draw(const DropoutArguments& mask, int64_t query_begin, int64_t queries, int64_t head,
                       int64_t key_position, int64_t keys) const {
    if (!mask.active()) return;
    const int used_groups = static_cast<int>((keys + 3) / 4);
    for (int i = threadIdx.x; i < queries * used_groups; i += blockDim.x) {
      const int query = i / used_groups, group = i % used_groups;
      const auto words = dropout_words(mask, query_begin + query, key_position / 4 + group, head);
      unsigned kept = 0;
      for (int key = 0; key < 4; ++key) kept |= static_cast<unsigned>(mask.keeps(words[key])) << key;
      bits[query * groups + group] = static_cast<uint8_t>(kept);
    }
  }

  __device__ float apply(const DropoutArguments& mask, float prob, int query, int key) const {
    if (!mask.active()) return prob;
    return bits[query * groups + key / 4] >> key % 4 & 1 ? prob * mask.scale : 0.f;
  }
};

/// The shared memory of a block: a tile of the rows that pass.
template <int d>
struct PassingTile {
  static constexpr int tile_words = BfloatTile<d>::num_words(rows_of_block);
  static constexpr int64_t bytes_without_kept = (2 * tile_words + 2 * rows_of_block) * sizeof(uint32_t),
                           bytes = bytes_without_kept + KeptProbs::bytes;

  float *log_sum_exp = dynamic_shared(), *row_dots = log_sum_exp + rows_of_block;  // of passing queries
  BfloatTile<d> first{reinterpret_cast<uint32_t*>(row_dots + rows_of_block)};      // key or query
  BfloatTile<d> second{first.words + tile_words};                                  // value or grad_context
  KeptProbs kept{reinterpret_cast<uint8_t*>(second.words + tile_words)};
};

/// Begins to bring the rows [begin, begin + rows) to a tile, by all threads of a block: they are there after
/// wait_for_copies() and a barrier. Rows that complete the last step of 16 are zero.
template <int d>
__device__ void load_tile(const BfloatHeads& source, int64_t begin, int64_t rows, int64_t head,
                          const BfloatTile<d>& tile) {
  constexpr int eights = d / 8;  // elements in 16 bytes
  const int padded_rows = static_cast<int>((rows + rows_of_step - 1) / rows_of_step * rows_of_step);
  for (int i = threadIdx.x; i < padded_rows * eights; i += blockDim.x) {
    const int row = i / eights, column = i % eights * 8;
    const bfloat16* from = source.row(begin + row, head, d) + column;
    uint32_t* to = tile.at(row, column);
    if (row < rows && source.is_aligned) {
      begin_copy_of_16_bytes(to, from);
    } else {
      for (int pair = 0; pair < 4; ++pair) to[pair] = row < rows ? source.load_pair(from + 2 * pair) : 0;
    }
  }
}

/// Calls body(first row, number of rows) for each tile of the rows [begin, end).
template <typename Body>
__device__ void for_each_tile(int64_t begin, int64_t end, const Body& body) {
  for (int64_t first = begin; first < end; first += rows_of_block) {
    body(first, end - first < rows_of_block ? end - first : rows_of_block);
  }
}

/// Brings in keys and values for a tile of queries; `draws` what dropout keeps of them, if it is not there.
template <int d>
__device__ void load_keys(const BfloatAttention& args, const Tile& own, int64_t head, int64_t begin,
                          int64_t keys, const PassingTile<d>& tile, bool draws = true) {
  __syncthreads();  // nobody still reads the last tile
  load_tile<d>(args.key, begin, keys, head, tile.first);
  load_tile<d>(args.value, begin, keys, head, tile.second);
  if (draws) tile.kept.draw(args.mask, own.begin, own.rows, head, begin - own.key_begin, keys);
  wait_for_copies();
  __syncthreads();
}

/// Brings in queries for a tile of keys.
template <int d>
__device__ void load_queries(const BfloatAttention& args, const Tile& own, int64_t head, int64_t begin,
                             int64_t queries, const PassingTile<d>& tile) {
  __syncthreads();  // nobody still reads the last tile
  load_tile<d>(args.query, begin, queries, head, tile.first);
  load_tile<d>(args.grad_context, begin, queries, head, tile.second);
  for (int i = threadIdx.x; i < rows_of_block; i += blockDim.x) {
    const int64_t at = (begin + i) * args.num_heads + head;
    tile.log_sum_exp[i] = i < queries ? args.log_sum_exp[at] : 0.f;
    tile.row_dots[i] = i < queries ? args.row_dots[at] : 0.f;
  }
  tile.kept.draw(args.mask, begin, queries, head, own.begin - own.key_begin, own.rows);
  wait_for_copies();
  __syncthreads();
}

/// Maximum and sum of a lane's two rows of S so far; the sum over this lane's columns alone.
struct RunningSoftmax {
  float max[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
};

/// One tile of keys in forward. The scores of the whole tile are computed first, so that what was summed
/// before is shrunk once a tile.
template <int d>
__device__ void add_keys(const BfloatAttention& args, const LeftRows<d>& query, const WarpRows& rows,
                         const PassingTile<d>& tile, int64_t keys, RunningSoftmax& softmax,
                         WeightedSums<d>& sums) {
  constexpr int steps = rows_of_block / rows_of_step;
  Accumulator scores[steps];
  float max[2] = {softmax.max[0], softmax.max[1]};
  NORMTUNE_UNROLL
  for (int step = 0; step < steps; ++step) {
    const int first_key = step * rows_of_step;
    if (first_key >= keys) continue;
    scores[step] = multiply_transposed(query, tile.first, first_key);
    for (int e = 0; e < Accumulator::size; ++e) {
      float& score = scores[step].elements[e];
      score = first_key + Accumulator::column(e) < keys ? args.factor * score : -INFINITY;
      max[Accumulator::half(e)] = larger(max[Accumulator::half(e)], score);
    }
  }
  float shrink[2];
  for (int i = 0; i < 2; ++i) {
    max[i] = group_max(max[i]);
    shrink[i] = exponential(softmax.max[i] - max[i]);
    softmax.max[i] = max[i];
    softmax.total[i] *= shrink[i];
  }
  sums.scale(shrink);
  NORMTUNE_UNROLL
  for (int step = 0; step < steps; ++step) {
    const int first_key = step * rows_of_step;
    if (first_key >= keys) continue;
    for (int e = 0; e < Accumulator::size; ++e) {
      float& score = scores[step].elements[e];
      const float prob = exponential(score - max[Accumulator::half(e)]);
      softmax.total[Accumulator::half(e)] += prob;
      score = tile.kept.apply(args.mask, prob, rows.in_tile + Accumulator::row(e),
                              first_key + Accumulator::column(e));
    }
    sums.add_product(left_fragment(scores[step]), tile.second, first_key);
  }
}

/// Calls body(i, at) for the rows of queries that this lane has elements of: number i is at `at` in
/// [num_queries, num_heads].
template <typename Body>
__device__ void for_each_query(const BfloatAttention& args, const WarpRows& rows, int64_t head,
                               const Body& body) {
  NORMTUNE_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int row = lane_group() + 8 * i;
    if (row < rows.count) body(i, (rows.begin + row) * args.num_heads + head);
  }
}

template <int d>
__global__ void tensor_core_forward_kernel(BfloatAttention args, Heads<bfloat16> context) {
  const int64_t head = blockIdx.y;
  const Tile own = find_tile(args.query_cu_seqlens, args, blockIdx.x);
  if (own.rows == 0) return;
  const PassingTile<d> tile;
  const WarpRows rows(own);
  const LeftRows<d> query(args.query, rows, head);
  RunningSoftmax softmax;
  WeightedSums<d> sums;
  for_each_tile(own.key_begin, own.key_end, [&](int64_t begin, int64_t keys) {
    load_keys(args, own, head, begin, keys, tile);
    if (rows.count > 0) add_keys(args, query, rows, tile, keys, softmax, sums);
  });
  if (rows.count <= 0) return;
  float inverse[2];
  for (int i = 0; i < 2; ++i) {
    float& total = softmax.total[i];
    total = group_sum(total);
    inverse[i] = total > 0.f ? 1.f / total : total;  // a query without keys has context 0
  }
  sums.scale(inverse);
  sums.store(context, rows, head);
  if (args.log_sum_exp == nullptr || lane_member() != 0) return;
  for_each_query(args, rows, head, [&](int i, int64_t at) {
    const auto max = static_cast<double>(softmax.max[i]), total = static_cast<double>(softmax.total[i]);
    args.log_sum_exp[at] = static_cast<float>(max + ::log(total));
  });
}

/// P and dP, [16, 16] of a warp's rows and 16 rows of a tile.
struct ProbGradients {
  Accumulator prob, grad_prob;
};

/// For a warp's queries and the keys first_key ... first_key + 15 of a tile.
template <int d>
__device__ ProbGradients prob_gradients(const BfloatAttention& args, const LeftRows<d>& query,
                                        const LeftRows<d>& grad_context, const float (&log_sum_exp)[2],
                                        const WarpRows& rows, const PassingTile<d>& tile, int first_key,
                                        int64_t keys) {
  ProbGradients result{multiply_transposed(query, tile.first, first_key),
                       multiply_transposed(grad_context, tile.second, first_key)};
  for (int e = 0; e < Accumulator::size; ++e) {
    float &prob = result.prob.elements[e], &grad_prob = result.grad_prob.elements[e];
    const int key = first_key + Accumulator::column(e);
    prob = key < keys ? exponential(args.factor * prob - log_sum_exp[Accumulator::half(e)]) : 0.f;
    grad_prob = tile.kept.apply(args.mask, grad_prob, rows.in_tile + Accumulator::row(e), key);
  }
  return result;
}

/// Tiles of keys for which the kernel of r and dQ remembers what dropout keeps: all of a sequence of up to
/// 512 tokens.
constexpr int remembered_tiles = 8;

/// r and dQ of some query rows. r needs all keys before dS of the first: the keys pass twice. What dropout
/// keeps is drawn once: by the number of instructions that is dearer than a product.
template <int d>
__global__ void tensor_core_backward_query_kernel(BfloatAttention args, Heads<bfloat16> grad_query) {
  const int64_t head = blockIdx.y;
  const Tile own = find_tile(args.query_cu_seqlens, args, blockIdx.x);
  if (own.rows == 0) return;
  PassingTile<d> tile;
  uint8_t* const remembered = tile.kept.bits;
  const auto go_to_tile = [&](int64_t begin) {
    tile.kept.bits =
        remembered + (begin - own.key_begin) / rows_of_block % remembered_tiles * KeptProbs::bytes;
  };
  const int64_t tiles = (own.key_end - own.key_begin + rows_of_block - 1) / rows_of_block;
  const WarpRows rows(own);
  const LeftRows<d> query(args.query, rows, head), grad_context(args.grad_context, rows, head);
  float log_sum_exp[2] = {0, 0}, dots[2] = {0, 0};
  for_each_query(args, rows, head, [&](int i, int64_t at) { log_sum_exp[i] = args.log_sum_exp[at]; });
  for_each_tile(own.key_begin, own.key_end, [&](int64_t begin, int64_t keys) {
    go_to_tile(begin);
    load_keys(args, own, head, begin, keys, tile);
    if (rows.count <= 0) return;
    for (int first_key = 0; first_key < keys; first_key += rows_of_step) {
      const auto [prob, grad_prob] =
          prob_gradients(args, query, grad_context, log_sum_exp, rows, tile, first_key, keys);
      for (int e = 0; e < Accumulator::size; ++e) {
        dots[Accumulator::half(e)] += prob.elements[e] * grad_prob.elements[e];
      }
    }
  });
  for (int i = 0; i < 2; ++i) dots[i] = group_sum(dots[i]);
  WeightedSums<d> sums;
  for_each_tile(own.key_begin, own.key_end, [&](int64_t begin, int64_t keys) {
    go_to_tile(begin);
    if (tiles > 1) load_keys(args, own, head, begin, keys, tile, /*draws=*/tiles > remembered_tiles);
    if (rows.count <= 0) return;
    for (int first_key = 0; first_key < keys; first_key += rows_of_step) {
      const auto [prob, grad_prob] =
          prob_gradients(args, query, grad_context, log_sum_exp, rows, tile, first_key, keys);
      Accumulator grad_scores;
      for (int e = 0; e < Accumulator::size; ++e) {
        grad_scores.elements[e] =
            args.factor * prob.elements[e] * (grad_prob.elements[e] - dots[Accumulator::half(e)]);
      }
      sums.add_product(left_fragment(grad_scores), tile.first, first_key);
    }
  });
  if (rows.count <= 0) return;
  sums.store(grad_query, rows, head);
  if (lane_member() != 0) return;
  for_each_query(args, rows, head, [&](int i, int64_t at) { args.row_dots[at] = dots[i]; });
}

/// dS^T and drop(P)^T, [16, 16] of a warp's keys and 16 queries of a tile, added to the gradients.
template <int d>
__device__ void add_queries(const BfloatAttention& args, const LeftRows<d>& key, const LeftRows<d>& value,
                            const WarpRows& rows, const PassingTile<d>& tile, int first_query,
                            WeightedSums<d>& key_sums, WeightedSums<d>& value_sums) {
  const Accumulator scores = multiply_transposed(key, tile.first, first_query);
  const Accumulator grads = multiply_transposed(value, tile.second, first_query);
  Accumulator grad_scores, dropped_probs;
  for (int e = 0; e < Accumulator::size; ++e) {
    const int query = first_query + Accumulator::column(e), own_key = rows.in_tile + Accumulator::row(e);
    const float prob = exponential(args.factor * scores.elements[e] - tile.log_sum_exp[query]);
    const float grad_prob = tile.kept.apply(args.mask, grads.elements[e], query, own_key);
    grad_scores.elements[e] = args.factor * prob * (grad_prob - tile.row_dots[query]);
    dropped_probs.elements[e] = tile.kept.apply(args.mask, prob, query, own_key);
  }
  key_sums.add_product(left_fragment(grad_scores), tile.first, first_query);
  value_sums.add_product(left_fragment(dropped_probs), tile.second, first_query);
}

/// dK and dV of some key rows, from all queries of their sequence.
template <int d>
__global__ void tensor_core_backward_key_kernel(BfloatAttention args, Heads<bfloat16> grad_key,
                                                Heads<bfloat16> grad_value) {
  const int64_t head = blockIdx.y;
  const Tile own = find_tile(args.cu_seqlens, args, blockIdx.x);
  if (own.rows == 0) return;
  const PassingTile<d> tile;
  const WarpRows rows(own);
  const LeftRows<d> key(args.key, rows, head), value(args.value, rows, head);
  WeightedSums<d> key_sums, value_sums;
  for_each_tile(own.query_begin, own.query_end, [&](int64_t begin, int64_t queries) {
    load_queries(args, own, head, begin, queries, tile);
    if (rows.count <= 0) return;
    for (int first_query = 0; first_query < queries; first_query += rows_of_step) {
      add_queries(args, key, value, rows, tile, first_query, key_sums, value_sums);
    }
  });
  key_sums.store(grad_key, rows, head);
  value_sums.store(grad_value, rows, head);
}

/// Whether heads of d channels in bfloat16 have kernels here.
inline bool has_tensor_core_attention(int64_t d) {
  return d % 16 == 0 && d > 0 && d <= 128;
}

/// Calls body(std::integral_constant<int, d>) for a d that has_tensor_core_attention().
template <int candidate = 16, typename Body>
void with_head_size(int64_t d, const Body& body) {
  if (d == candidate) {
    body(std::integral_constant<int, candidate>{});
  } else if constexpr (candidate < 128) {
    with_head_size<candidate + 16>(d, body);
  }
}

template <typename Launcher>
void tensor_core_attention_forward(const Launcher& launch, const Backend::AttentionForward& args) {
  BfloatAttention arguments = attention_arguments<bfloat16>(args, rows_of_block);
  arguments.log_sum_exp = floats(args.log_sum_exp);
  with_head_size(arguments.d, [&](auto head_size) {
    constexpr int d = decltype(head_size)::value;
    launch(tensor_core_forward_kernel<d>, attention_grid(arguments, args.query.rows, PassingTile<d>::bytes),
           arguments, heads_of<bfloat16>(args.context));
  });
}

template <typename Launcher>
void tensor_core_attention_backward(const Launcher& launch, const Backend::AttentionBackward& args) {
  const Tensor row_dots = Tensor::empty({args.query.rows, args.num_heads}, DType::float32, launch.device);
  const BfloatAttention arguments = attention_backward_arguments<bfloat16>(args, rows_of_block, row_dots);
  with_head_size(arguments.d, [&](auto head_size) {
    constexpr int d = decltype(head_size)::value;
    constexpr int64_t query_bytes = PassingTile<d>::bytes_without_kept + remembered_tiles * KeptProbs::bytes;
    launch(tensor_core_backward_query_kernel<d>, attention_grid(arguments, args.query.rows, query_bytes),
           arguments, heads_of<bfloat16>(args.grad_query));
    launch(tensor_core_backward_key_kernel<d>,
           attention_grid(arguments, args.key.rows, PassingTile<d>::bytes), arguments,
           heads_of<bfloat16>(args.grad_key), heads_of<bfloat16>(args.grad_value));
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
