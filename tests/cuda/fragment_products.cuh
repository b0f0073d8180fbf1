#pragma once

#include "cuda/tensor_cores.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// Writes [16, 8] at `column` of a [16, 16].
__device__ inline void store_half(const Accumulator& from, float* to, int column) {
  for (int e = 0; e < 4; ++e) {
    to[Accumulator::row(e) * 16 + column + Accumulator::column(e)] = from.elements[e];
  }
}

/// Of the x and y [16, 16] that each warp has: the products x y, x y^T and (x y) y, by all the ways in which
/// fragments are made. Dynamic shared memory: BfloatTile<16>::num_words(16) words for each warp.
__global__ void fragment_products_kernel(const float* x, const float* y, float* products) {
  constexpr int size = 16 * 16;
  const int warp = static_cast<int>(threadIdx.x / warp_size);
  x += warp * size;
  y += warp * size;
  products += warp * 3 * size;
  const BfloatTile<16> tile{reinterpret_cast<uint32_t*>(dynamic_shared()) +
                            warp * BfloatTile<16>::num_words(16)};
  for (int i = static_cast<int>(2 * (threadIdx.x % warp_size)); i < size; i += 2 * warp_size) {
    tile.word(i / 16, i % 16) = pack_bfloat16(y[i], y[i + 1]);
  }
  __syncthreads();
  const LeftFragment left = left_fragment([&](int row, int column) { return x[row * 16 + column]; });
  Accumulator halves[2];
  for (int half = 0; half < 2; ++half) {
    multiply_add(left, tile.fragment(0, 8 * half), halves[half]);
    store_half(halves[half], products, 8 * half);
  }
  for (int half = 0; half < 2; ++half) {
    Accumulator transposed;
    multiply_add(left, tile.transposed_fragment(8 * half, 0), transposed);
    store_half(transposed, products + size, 8 * half);
  }
  for (int half = 0; half < 2; ++half) {
    Accumulator again;
    multiply_add(left_fragment(halves[0], halves[1]), tile.fragment(0, 8 * half), again);
    store_half(again, products + 2 * size, 8 * half);
  }
}

constexpr Grid fragment_products_grid(int warps) {
  return {.blocks = 1,
          .threads = warps * warp_size,
          .shared_bytes = static_cast<int64_t>(sizeof(uint32_t)) * warps * BfloatTile<16>::num_words(16)};
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
