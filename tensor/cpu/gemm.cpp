#include "tensor/cpu/gemm.h"

#include <algorithm>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"
#include "tensor/tensor.h"

// The product is the one of Goto and van de Geijn (2008, "Anatomy of high-performance matrix
// multiplication"): b is cut into contiguous panels, which lie in the caches while a tile of c stays in
// registers (vector/product.h).

namespace normtune {
namespace {

// Terms of one pass over c, which fixes the order of the sum; a panel of so many fits the second-level cache.
constexpr int64_t block_k = 384;
// Rows and columns of c that one thread computes at a time; multiples of the tiles of all instruction sets.
constexpr int64_t block_m = 96, block_n = 512;
// The part of b that is packed at a time.
constexpr int64_t group_k = 8 * block_k, group_n = 8 * block_n;
// Columns that gemm_in_thread packs at a time.
constexpr int64_t thread_block_n = 128;

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

template <typename T>
void set_to_zero(const Gemm<T>& args) {
  for (int64_t i = 0; i < args.m; ++i) std::fill(args.c + i * args.ldc, args.c + i * args.ldc + args.n, T(0));
}

/// No terms or no elements: nothing to multiply.
template <typename T>
bool is_trivial(const Gemm<T>& args) {
  if (args.k == 0 && !args.accumulate) set_to_zero(args);
  return args.m == 0 || args.n == 0 || args.k == 0;
}

/// Rows [begin, begin + m), terms [k_begin, k_begin + k) and columns [n_begin, n_begin + n) of a product.
struct Block {
  int64_t begin, m, k_begin, k, n_begin, n;
};

template <typename T>
void pack(const Gemm<T>& args, int64_t k_begin, int64_t k, int64_t n_begin, int64_t n, T* panels) {
  const int64_t k_step = args.transpose_b ? 1 : args.ldb, column_step = args.transpose_b ? args.ldb : 1;
  vector::loops<T>().pack_panels(args.b + k_begin * k_step + n_begin * column_step, k_step, column_step, k, n,
                                 panels);
}

/// The contribution of at most block_k terms to a block of at most block_m rows.
template <typename T>
void multiply_block(const Gemm<T>& args, const Block& block, const T* panels) {
  const auto& loops = vector::loops<T>();
  vector::PanelProduct<T> product{.a = args.a + block.begin * args.lda + block.k_begin,
                                  .tile_step = loops.tile_rows * args.lda,
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
    loops.pack_tiles(args.a + block.k_begin * args.lda + block.begin, args.lda, block.k, block.m, packed_a);
    product.a = packed_a;
    product.tile_step = loops.tile_rows * block.k;
    product.row_step = 1;
    product.k_step = loops.tile_rows;
  }
  loops.multiply_panels(product);
}

/// Packs terms [k_begin, k_end) and columns [n_begin, n_end) of b: for each block_k terms all their panels.
template <typename T>
void pack_group(const Gemm<T>& args, int64_t k_begin, int64_t k_end, int64_t n_begin, int64_t n_end,
                T* packed) {
  const int64_t width = vector::loops<T>().tile_columns;
  const int64_t panels = round_up(n_end - n_begin, width) / width;
  const int64_t k_blocks = (k_end - k_begin + block_k - 1) / block_k;
  parallel_pieces(k_blocks * panels, 1, [&](int64_t piece, int64_t) {
    const int64_t k_offset = piece / panels * block_k, n_offset = piece % panels * width;
    const int64_t k = std::min(block_k, k_end - k_begin - k_offset);
    const int64_t n = std::min(width, n_end - n_begin - n_offset);
    pack(args, k_begin + k_offset, k, n_begin + n_offset, n,
         packed + k_offset * panels * width + n_offset * k);
  });
}

template <typename T>
void multiply_group(const Gemm<T>& args, int64_t k_begin, int64_t k_end, int64_t n_begin, int64_t n_end,
                    const T* packed) {
  const int64_t padded_n = round_up(n_end - n_begin, vector::loops<T>().tile_columns);
  const int64_t row_blocks = (args.m + block_m - 1) / block_m;
  const int64_t column_blocks = (n_end - n_begin + block_n - 1) / block_n;
#pragma omp parallel for schedule(dynamic) if (row_blocks * column_blocks > 1)
  for (int64_t task = 0; task < row_blocks * column_blocks; ++task) {
    const int64_t begin = task % row_blocks * block_m, n_offset = task / row_blocks * block_n;
    for (int64_t k_offset = 0; k_offset < k_end - k_begin; k_offset += block_k) {
      const Block block{.begin = begin,
                        .m = std::min(block_m, args.m - begin),
                        .k_begin = k_begin + k_offset,
                        .k = std::min(block_k, k_end - k_begin - k_offset),
                        .n_begin = n_begin + n_offset,
                        .n = std::min(block_n, n_end - n_begin - n_offset)};
      multiply_block(args, block, packed + k_offset * padded_n + n_offset * block.k);
    }
  }
}

}  // namespace

template <typename T>
void gemm(const Gemm<T>& args) {
  if (is_trivial(args)) return;
  const int64_t padded_n = round_up(std::min(args.n, group_n), vector::loops<T>().tile_columns);
  const Tensor packed = Tensor::empty({std::min(args.k, group_k), padded_n}, dtype_of<T>());
  for (int64_t k_begin = 0; k_begin < args.k; k_begin += group_k) {
    const int64_t k_end = std::min(k_begin + group_k, args.k);
    for (int64_t n_begin = 0; n_begin < args.n; n_begin += group_n) {
      const int64_t n_end = std::min(n_begin + group_n, args.n);
      pack_group(args, k_begin, k_end, n_begin, n_end, packed.data<T>());
      multiply_group(args, k_begin, k_end, n_begin, n_end, packed.data<T>());
    }
  }
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

template void gemm(const Gemm<float>&);
template void gemm(const Gemm<double>&);
template void gemm_in_thread(const Gemm<float>&);
template void gemm_in_thread(const Gemm<double>&);

}  // namespace normtune
