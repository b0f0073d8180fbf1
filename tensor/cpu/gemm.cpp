#include "tensor/cpu/gemm.h"

#include <omp.h>

#include <algorithm>
#include <optional>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"

// The product is the one of Goto and van de Geijn (2008, "Anatomy of high-performance matrix
// multiplication"): b is cut into contiguous panels, which lie in the caches while a tile of c stays in
// registers (vector/product.h).

namespace normtune {
namespace {

// Terms of one pass over c, which fixes the order of the sum.
constexpr int64_t block_k = 384;
// Rows and columns of c that one thread computes at a time: multiples of tiles and panels of all instruction
// sets. The panels of so many columns stay in the second-level cache while all rows pass by. Fewer columns
// where there would not be work for all threads.
constexpr int64_t block_m = 64, smallest_block_n = 96, block_n = 2 * smallest_block_n;
// The part of b, and of a transposed a, that is packed at a time: at most 12 and 5 MB of floats.
constexpr int64_t group_n = 42 * block_n, group_m = 48 * block_m;
// Rows or columns that a thread packs at a time.
constexpr int64_t pack_size = 96;

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

/// n columns in pieces of `step`, which whole panels fill. A single vector is no piece of its own but part of
/// the last one, because the last panels share it (vector::Tiling).
template <typename T>
struct ColumnPieces {
  int64_t n, step;

  int64_t count() const { return std::max<int64_t>(1, divide_up(n - vector::loops<T>().tiling.lanes, step)); }
  int64_t begin(int64_t piece) const { return piece * step; }
  int64_t columns(int64_t piece) const { return piece + 1 < count() ? step : n - begin(piece); }
};

/// Columns of packed panels for n columns of b, and rows of packed tiles for m rows of a.
template <typename T>
int64_t padded_columns(int64_t n) {
  return round_up(n, vector::loops<T>().tiling.lanes);
}
template <typename T>
int64_t padded_rows(int64_t m) {
  return round_up(m, vector::loops<T>().tiling.rows);
}

template <typename T>
void pack_b(const Gemm<T>& args, int64_t k_begin, int64_t k, int64_t n_begin, int64_t n, T* panels) {
  const int64_t k_step = args.transpose_b ? 1 : args.ldb, column_step = args.transpose_b ? args.ldb : 1;
  vector::loops<T>().tiling.pack_panels(args.b + k_begin * k_step + n_begin * column_step, k_step,
                                        column_step, k, n, panels);
}

/// Of a transposed a.
template <typename T>
void pack_a(const Gemm<T>& args, int64_t k_begin, int64_t k, int64_t begin, int64_t m, T* tiles) {
  vector::loops<T>().tiling.pack_tiles(args.a + k_begin * args.lda + begin, args.lda, k, m, tiles);
}

/// The contribution of at most block_k terms to a block. `tiles`: its rows of a, if they have been packed.
template <typename T>
void multiply_block(const Gemm<T>& args, const Block& block, const T* tiles, const T* panels) {
  const auto& tiling = vector::loops<T>().tiling;
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
  if (args.transpose_a) {
    product.a = tiles;
    product.tile_step = tiling.rows * block.k;
    product.row_step = 1;
    product.k_step = tiling.rows;
  }
  tiling.multiply_panels(product);
}

/// At most block_k terms [k_begin, k_begin + k) and columns [n_begin, n_begin + n) of b, which are packed.
struct Group {
  int64_t k_begin, k, n_begin, n;
};

/// Rows [begin, begin + m) of a. A transposed a is packed, for the terms of a group.
template <typename T>
struct Rows {
  int64_t begin = 0, m = 0;
  T* packed = nullptr;

  /// Where the tiles of the rows from m_offset begin.
  T* tiles(const Group& group, int64_t m_offset) const {
    return packed == nullptr ? nullptr : packed + m_offset * group.k;
  }
};

/// Calls body(group) for all groups of b, in the order of their terms.
template <typename T, typename Body>
void for_each_group(const Gemm<T>& args, const Body& body) {
  for (int64_t k_begin = 0; k_begin < args.k; k_begin += block_k) {
    for (int64_t n_begin = 0; n_begin < args.n; n_begin += group_n) {
      body(Group{.k_begin = k_begin,
                 .k = std::min(block_k, args.k - k_begin),
                 .n_begin = n_begin,
                 .n = std::min(group_n, args.n - n_begin)});
    }
  }
}

/// Where the group begins in a b that is packed as a whole.
template <typename T>
int64_t place_in_factor(const Gemm<T>& args, const Group& group) {
  return group.k_begin * padded_columns<T>(args.n) + group.n_begin * group.k;
}

/// Packs the group of b, unless panels is null, and the rows of a, if they have a place.
template <typename T>
void pack_group(const Gemm<T>& args, const Group& group, T* panels, const Rows<T>& rows) {
  const ColumnPieces<T> columns{.n = group.n, .step = pack_size};
  const int64_t column_pieces = panels != nullptr ? columns.count() : 0;
  const int64_t row_pieces = rows.packed != nullptr ? divide_up(rows.m, pack_size) : 0;
#pragma omp parallel for schedule(dynamic) if (column_pieces + row_pieces > 1)
  for (int64_t piece = 0; piece < column_pieces + row_pieces; ++piece) {
    if (piece < column_pieces) {
      const int64_t n_offset = columns.begin(piece);
      pack_b(args, group.k_begin, group.k, group.n_begin + n_offset, columns.columns(piece),
             panels + n_offset * group.k);
    } else {
      const int64_t m_offset = (piece - column_pieces) * pack_size;
      pack_a(args, group.k_begin, group.k, rows.begin + m_offset, std::min(pack_size, rows.m - m_offset),
             rows.tiles(group, m_offset));
    }
  }
}

/// Rows and columns of one task, so that each thread has several tasks if possible, all of about one size.
template <typename T>
struct TaskSize {
  int64_t m = block_m, n = block_n;

  TaskSize(int64_t rows, int64_t columns) {
    const int64_t wanted_tasks = 8 * int64_t{omp_get_max_threads()};
    if (divide_up(rows, m) * divide_up(columns, n) < wanted_tasks) n = smallest_block_n;
    const auto& tiling = vector::loops<T>().tiling;
    m = round_up(divide_up(rows, divide_up(rows, m)), tiling.rows);
    n = round_up(divide_up(columns, divide_up(columns, n)), tiling.columns);
  }
};

template <typename T>
void multiply_group(const Gemm<T>& args, const Group& group, const Rows<T>& rows, const T* panels) {
  const TaskSize<T> size(rows.m, group.n);
  const ColumnPieces<T> columns{.n = group.n, .step = size.n};
  const int64_t row_blocks = divide_up(rows.m, size.m), tasks = row_blocks * columns.count();
#pragma omp parallel for schedule(dynamic) if (tasks > 1)
  for (int64_t task = 0; task < tasks; ++task) {
    const int64_t m_offset = task % row_blocks * size.m, n_offset = columns.begin(task / row_blocks);
    const Block block{.begin = rows.begin + m_offset,
                      .m = std::min(size.m, rows.m - m_offset),
                      .k_begin = group.k_begin,
                      .k = group.k,
                      .n_begin = group.n_begin + n_offset,
                      .n = columns.columns(task / row_blocks)};
    multiply_block(args, block, rows.tiles(group, m_offset), panels + n_offset * group.k);
    if (group.k_begin + group.k == args.k) add_bias(args, block.begin, block.m, block.n_begin, block.n);
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
  Tensor packed = Tensor::empty({args.k, padded_columns<T>(args.n)}, dtype_of<T>());
  for_each_group(args, [&](const Group& group) {
    pack_group(args, group, packed.data<T>() + place_in_factor(args, group), Rows<T>{});
  });
  return packed;
}

template <typename T>
void gemm(const Gemm<T>& args) {
  if (is_trivial(args)) return;
  const int64_t k = std::min(args.k, block_k);
  const int64_t rows_at_a_time = args.transpose_a ? group_m : args.m;
  std::optional<Tensor> packed_a, packed_b;
  if (args.transpose_a) {
    packed_a = Tensor::empty({k, padded_rows<T>(std::min(args.m, rows_at_a_time))}, dtype_of<T>());
  }
  if (args.packed_b == nullptr) {
    packed_b = Tensor::empty({k, padded_columns<T>(std::min(args.n, group_n))}, dtype_of<T>());
  }
  for_each_group(args, [&](const Group& group) {
    const T* panels = packed_b ? packed_b->data<T>() : args.packed_b + place_in_factor(args, group);
    for (int64_t begin = 0; begin < args.m; begin += rows_at_a_time) {
      const Rows<T> rows{.begin = begin,
                         .m = std::min(rows_at_a_time, args.m - begin),
                         .packed = packed_a ? packed_a->data<T>() : nullptr};
      const bool packs_b = packed_b && begin == 0;
      if (packs_b || packed_a) pack_group(args, group, packs_b ? packed_b->data<T>() : nullptr, rows);
      multiply_group(args, group, rows, panels);
    }
  });
}

template <typename T>
void gemm_in_thread(const Gemm<T>& args) {
  if (is_trivial(args)) return;
  alignas(64) T panels[block_k * block_n], tiles[block_k * block_m];
  for (int64_t k_begin = 0; k_begin < args.k; k_begin += block_k) {
    const int64_t k = std::min(block_k, args.k - k_begin);
    for (int64_t n_begin = 0; n_begin < args.n; n_begin += block_n) {
      const int64_t n = std::min(block_n, args.n - n_begin);
      pack_b(args, k_begin, k, n_begin, n, panels);
      for (int64_t begin = 0; begin < args.m; begin += block_m) {
        const int64_t m = std::min(block_m, args.m - begin);
        if (args.transpose_a) pack_a(args, k_begin, k, begin, m, tiles);
        multiply_block(args, {.begin = begin, .m = m, .k_begin = k_begin, .k = k, .n_begin = n_begin, .n = n},
                       tiles, panels);
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
