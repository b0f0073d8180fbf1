#include "tensor/cpu/gemm.h"

#include <omp.h>

#include <algorithm>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"

// The product is the one of Goto and van de Geijn (2008, "Anatomy of high-performance matrix
// multiplication"): b is cut into contiguous panels, which lie in the caches while a tile of c stays in
// registers (vector/product.h).

namespace normtune {
namespace {

// Terms of one pass over c, which fixes the order of the sum; a panel of so many fits the second-level cache.
constexpr int64_t block_k = 384;
// Rows and columns of c that one thread computes at a time: multiples of the tiles of all instruction sets.
// Fewer where there would not be work for all threads; more columns where a is transposed, because it is
// then packed for each block of columns.
constexpr int64_t smallest_block_m = 96, block_m = 2 * smallest_block_m;
constexpr int64_t smallest_block_n = 96, block_n = 3 * smallest_block_n;
// The part of b that is packed at a time: at most 12 MB of floats.
constexpr int64_t group_k = 4 * block_k, group_n = 7 * block_n;
// Columns that gemm_in_thread packs at a time.
constexpr int64_t thread_block_n = 192;

int64_t divide_up(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

int64_t round_up(int64_t value, int64_t multiple) {
  return divide_up(value, multiple) * multiple;
}

template <typename T>
void set_to_zero(const Gemm<T>& args) {
  for (int64_t i = 0; i < args.m; ++i) std::fill(args.c + i * args.ldc, args.c + i * args.ldc + args.n, T(0));
}

/// No terms or no elements: nothing to multiply.
template <typename T>
bool is_trivial(const Gemm<T>& args) {
  if (args.k == 0 && !args.accumulate) set_to_zero(args);
  if (args.k == 0) add_bias(args, 0, args.m, 0, args.n);
  return args.m == 0 || args.n == 0 || args.k == 0;
}

/// Rows [begin, begin + m), terms [k_begin, k_begin + k) and columns [n_begin, n_begin + n) of a product.
struct Block {
  int64_t begin, m, k_begin, k, n_begin, n;
};

/// The wide tiles where they fit c.
template <typename T>
const vector::Tiling<T>& tiling_for(const Gemm<T>& args) {
  const auto& loops = vector::loops<T>();
  return args.n % loops.wide_tiles.columns == 0 ? loops.wide_tiles : loops.narrow_tiles;
}

template <typename T>
void pack(const Gemm<T>& args, int64_t k_begin, int64_t k, int64_t n_begin, int64_t n, T* panels) {
  const int64_t k_step = args.transpose_b ? 1 : args.ldb, column_step = args.transpose_b ? args.ldb : 1;
  tiling_for(args).pack_panels(args.b + k_begin * k_step + n_begin * column_step, k_step, column_step, k, n,
                               panels);
}

/// The contribution of at most block_k terms to a block of at most block_m rows.
template <typename T>
void multiply_block(const Gemm<T>& args, const Block& block, const T* panels) {
  const auto& tiling = tiling_for(args);
  vector::PanelProduct<T> product{.a = args.a + block.begin * args.lda + block.k_begin,
                                  .tile_step = tiling.rows * args.lda,
                                  .row_step = args.lda,
                                  .k_step = 1,
                                  .panels = panels,
                                  .m = block.m,
                                  .k = block.k,
                                  .n = block.n,
                                  .c = args.c + block.begin * args.ldc + block.n_begin,
                                  .ldc = args.ldc,
                                  .accumulate = args.accumulate || block.k_begin > 0};
  T packed_a[block_m * block_k];
  if (args.transpose_a) {
    tiling.pack_tiles(args.a + block.k_begin * args.lda + block.begin, args.lda, block.k, block.m, packed_a);
    product.a = packed_a;
    product.tile_step = tiling.rows * block.k;
    product.row_step = 1;
    product.k_step = tiling.rows;
  }
  tiling.multiply_panels(product);
}

/// Terms [k_begin, k_begin + k) and columns [n_begin, n_begin + n) of b, to be packed: for each block_k terms
/// all panels.
struct Group {
  int64_t k_begin, k, n_begin, n;
  int64_t width;  // of a panel

  /// Where in the packed group the panels of the terms from k_offset and the columns from n_offset begin.
  int64_t panels(int64_t k_offset, int64_t n_offset) const {
    return k_offset * round_up(n, width) + n_offset * k_block(k_offset);
  }
  int64_t k_block(int64_t k_offset) const { return std::min(block_k, k - k_offset); }
};

/// Calls body(group) for all groups of b, in the order of their terms.
template <typename T, typename Body>
void for_each_group(const Gemm<T>& args, const Body& body) {
  for (int64_t k_begin = 0; k_begin < args.k; k_begin += group_k) {
    for (int64_t n_begin = 0; n_begin < args.n; n_begin += group_n) {
      body(Group{.k_begin = k_begin,
                 .k = std::min(group_k, args.k - k_begin),
                 .n_begin = n_begin,
                 .n = std::min(group_n, args.n - n_begin),
                 .width = tiling_for(args).columns});
    }
  }
}

/// Where the group begins in a b that is packed as a whole.
template <typename T>
int64_t place_in_factor(const Gemm<T>& args, const Group& group) {
  return group.k_begin * round_up(args.n, group.width) + group.n_begin * group.k;
}

template <typename T>
void pack_group(const Gemm<T>& args, const Group& group, T* packed) {
  const int64_t width = group.width, panels = divide_up(group.n, width);
  parallel_pieces(divide_up(group.k, block_k) * panels, 1, [&](int64_t piece, int64_t) {
    const int64_t k_offset = piece / panels * block_k, n_offset = piece % panels * width;
    pack(args, group.k_begin + k_offset, group.k_block(k_offset), group.n_begin + n_offset,
         std::min(width, group.n - n_offset), packed + group.panels(k_offset, n_offset));
  });
}

/// Rows and columns of one task, so that each thread has several tasks if possible.
struct TaskSize {
  int64_t m, n;

  TaskSize(int64_t rows, int64_t columns, bool transpose_a)
      : m(block_m), n(transpose_a ? 4 * block_n : block_n) {
    const int64_t wanted_tasks = 8 * int64_t{omp_get_max_threads()};
    const auto tasks = [&] { return divide_up(rows, m) * divide_up(columns, n); };
    if (tasks() < wanted_tasks) m = smallest_block_m;
    while (n > smallest_block_n && tasks() < wanted_tasks) n -= smallest_block_n;
  }
};

template <typename T>
void multiply_group(const Gemm<T>& args, const Group& group, const T* packed) {
  const TaskSize size(args.m, group.n, args.transpose_a);
  const int64_t row_blocks = divide_up(args.m, size.m), tasks = row_blocks * divide_up(group.n, size.n);
#pragma omp parallel for schedule(dynamic) if (tasks > 1)
  for (int64_t task = 0; task < tasks; ++task) {
    const int64_t begin = task % row_blocks * size.m, n_offset = task / row_blocks * size.n;
    const int64_t m = std::min(size.m, args.m - begin), n = std::min(size.n, group.n - n_offset);
    for (int64_t k_offset = 0; k_offset < group.k; k_offset += block_k) {
      multiply_block(args,
                     {.begin = begin,
                      .m = m,
                      .k_begin = group.k_begin + k_offset,
                      .k = group.k_block(k_offset),
                      .n_begin = group.n_begin + n_offset,
                      .n = n},
                     packed + group.panels(k_offset, n_offset));
    }
    if (group.k_begin + group.k == args.k) add_bias(args, begin, m, group.n_begin + n_offset, n);
  }
}

}  // namespace

template <typename T>
void add_bias(const Gemm<T>& args, int64_t begin, int64_t m, int64_t n_begin, int64_t n) {
  if (args.bias == nullptr) return;
  for (int64_t i = begin; i < begin + m; ++i) {
    T* row = args.c + i * args.ldc + n_begin;
    vector::loops<T>().add(row, args.bias + n_begin, row, n);
  }
}

template <typename T>
Tensor pack_factor(const Gemm<T>& args) {
  const int64_t padded_n = round_up(args.n, tiling_for(args).columns);
  const Tensor packed = Tensor::empty({args.k, padded_n}, dtype_of<T>());
  for_each_group(args, [&](const Group& group) {
    pack_group(args, group, packed.data<T>() + place_in_factor(args, group));
  });
  return packed;
}

template <typename T>
void gemm(const Gemm<T>& args) {
  if (is_trivial(args)) return;
  if (args.packed_b != nullptr) {
    for_each_group(args, [&](const Group& group) {
      multiply_group(args, group, args.packed_b + place_in_factor(args, group));
    });
    return;
  }
  const int64_t padded_n = round_up(std::min(args.n, group_n), tiling_for(args).columns);
  const Tensor packed = Tensor::empty({std::min(args.k, group_k), padded_n}, dtype_of<T>());
  for_each_group(args, [&](const Group& group) {
    pack_group(args, group, packed.data<T>());
    multiply_group(args, group, packed.data<T>());
  });
}

template <typename T>
void gemm_in_thread(const Gemm<T>& args) {
  if (is_trivial(args)) return;
  alignas(64) T panels[block_k * thread_block_n];
  for (int64_t k_begin = 0; k_begin < args.k; k_begin += block_k) {
    const int64_t k = std::min(block_k, args.k - k_begin);
    for (int64_t n_begin = 0; n_begin < args.n; n_begin += thread_block_n) {
      const int64_t n = std::min(thread_block_n, args.n - n_begin);
      pack(args, k_begin, k, n_begin, n, panels);
      for (int64_t begin = 0; begin < args.m; begin += block_m) {
        const int64_t m = std::min(block_m, args.m - begin);
        multiply_block(args, {.begin = begin, .m = m, .k_begin = k_begin, .k = k, .n_begin = n_begin, .n = n},
                       panels);
      }
    }
  }
}

template void add_bias(const Gemm<float>&, int64_t, int64_t, int64_t, int64_t);
template void add_bias(const Gemm<double>&, int64_t, int64_t, int64_t, int64_t);
template Tensor pack_factor(const Gemm<float>&);
template Tensor pack_factor(const Gemm<double>&);
template void gemm(const Gemm<float>&);
template void gemm(const Gemm<double>&);
template void gemm_in_thread(const Gemm<float>&);
template void gemm_in_thread(const Gemm<double>&);

}  // namespace normtune
