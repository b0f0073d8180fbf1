#pragma once

#include "cuda/tensor_cores.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

__device__ inline void store(const Accumulator& from, float* to) {
  for (int e = 0; e < Accumulator::size; ++e) {
    to[Accumulator::row(e) * 16 + Accumulator::column(e)] = from.elements[e];
  }
}

/// Of the x and y [16, 16] that each warp has: the products x y, x y^T and (x y) y, by all the ways in which
/// fragments are made. y comes to shared memory by copies of 16 bytes. Dynamic shared memory:
/// BfloatTile<16>::num_words(16) words for each warp.
__global__ void fragment_products_kernel(const bfloat16* x, const bfloat16* y, float* products) {
  constexpr int size = 16 * 16;
  const int warp = static_cast<int>(threadIdx.x / warp_size);
  x += warp * size;
  y += warp * size;
  products += warp * 3 * size;
  const BfloatTile<16> tile{reinterpret_cast<uint32_t*>(dynamic_shared()) +
                            warp * BfloatTile<16>::num_words(16)};
  const int row = static_cast<int>(threadIdx.x % warp_size) / 2, column = threadIdx.x % 2 * 8;
  begin_copy_of_16_bytes(tile.at(row, column), y + row * 16 + column);
  wait_for_copies();
  __syncthreads();
  const LeftFragment left =
      left_fragment([&](int i, int j) { return *reinterpret_cast<const uint32_t*>(x + i * 16 + j); });
  Accumulator product, transposed, again;
  multiply_add(left, tile.fragment(0, 0), product);
  multiply_add(left, tile.transposed_fragment(0, 0), transposed);
  multiply_add(left_fragment(product), tile.fragment(0, 0), again);
  store(product, products);
  store(transposed, products + size);
  store(again, products + 2 * size);
}

constexpr Grid fragment_products_grid(int warps) {
  return {.blocks = 1,
          .threads = warps * warp_size,
          .shared_bytes = static_cast<int64_t>(sizeof(uint32_t)) * warps * BfloatTile<16>::num_words(16)};
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
