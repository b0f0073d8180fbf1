#pragma once

#include "cuda/formulas.cuh"
#include "cuda/vectors.cuh"

// Products on tensor cores: a warp multiplies a 16 x 16 matrix by a 16 x 8 one, D += A B, of factors in
// bfloat16 and sums in float32. Each lane brings a fragment of A and of B and gets one of D. With
// group = lane / 4 and member = lane % 4, which the PTX ISA calls groupID and threadID_in_group (chapter
// "Matrix Fragments for mma.m16n8k16 with floating point type"), a lane's registers hold
//
//   A  register r  (row, column), (row, column + 1)   row = group + 8 (r % 2), column = 2 member + 8 (r / 2)
//   B  register r  (row, group), (row + 1, group)     row = 2 member + 8 r
//   D  element e   (row, column)                      row = group + 8 (e / 2), column = 2 member + e % 2
//
// two elements of A or B in a register, the first in its lower half. So two D side by side, rounded, are
// an A.

#if defined(__CUDACC__)
#define NORMTUNE_UNROLL _Pragma("unroll")  // for arrays that are to be registers
#else
#define NORMTUNE_UNROLL
#endif

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// D += A B. All 32 lanes of a warp must call it.
__device__ inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulated_mma_m16n8k16(d, a, b);
#endif
}

__device__ inline int lane_group() {
  return static_cast<int>(threadIdx.x % warp_size / 4);
}

__device__ inline int lane_member() {
  return static_cast<int>(threadIdx.x % 4);
}

/// A lane's part of D.
struct Accumulator {
  float elements[4] = {};

  __device__ static int row(int element) { return lane_group() + 8 * (element / 2); }
  __device__ static int column(int element) { return 2 * lane_member() + element % 2; }
};

/// A lane's part of A.
struct LeftFragment {
  uint32_t registers[4];
};

/// A lane's part of B.
struct RightFragment {
  uint32_t registers[2];
};

__device__ inline void multiply_add(const LeftFragment& a, const RightFragment& b, Accumulator& d) {
  mma_m16n8k16(d.elements, a.registers, b.registers);
}

/// A of the numbers element(row, column).
template <typename Element>
__device__ inline LeftFragment left_fragment(const Element& element) {
  LeftFragment fragment;
  NORMTUNE_UNROLL
  for (int r = 0; r < 4; ++r) {
    const int row = lane_group() + 8 * (r % 2), column = 2 * lane_member() + 8 * (r / 2);
    fragment.registers[r] = pack_bfloat16(element(row, column), element(row, column + 1));
  }
  return fragment;
}

/// A of two D, `left` its first eight columns.
__device__ inline LeftFragment left_fragment(const Accumulator& left, const Accumulator& right) {
  return {{pack_bfloat16(left.elements[0], left.elements[1]),
           pack_bfloat16(left.elements[2], left.elements[3]),
           pack_bfloat16(right.elements[0], right.elements[1]),
           pack_bfloat16(right.elements[2], right.elements[3])}};
}

/// Rows of bfloat16 in shared memory, two columns in a word. Rows lie four words further apart than they are
/// long: for a multiple of 16 columns the 32 words that a warp reads at once are in different banks, in
/// fragment() and in transposed_fragment().
template <int columns>
struct BfloatTile {
  static constexpr int ld = columns / 2 + 4;
  uint32_t* words;

  static constexpr int num_words(int rows) { return rows * ld; }

  __device__ uint32_t& word(int row, int column) const { return words[row * ld + column / 2]; }

  /// B = tile[row ... row + 15][column ... column + 7].
  __device__ RightFragment fragment(int row, int column) const {
    return {{column_pair(row + 2 * lane_member(), column + lane_group()),
             column_pair(row + 2 * lane_member() + 8, column + lane_group())}};
  }

  /// B = tile[row ... row + 7][column ... column + 15]^T.
  __device__ RightFragment transposed_fragment(int row, int column) const {
    return {{word(row + lane_group(), column + 2 * lane_member()),
             word(row + lane_group(), column + 2 * lane_member() + 8)}};
  }

 private:
  /// The elements of a column in the rows `row` and `row + 1`.
  __device__ uint32_t column_pair(int row, int column) const {
    const uint32_t upper = word(row, column), lower = word(row + 1, column);
    return column % 2 == 0 ? (upper & 0xFFFF) | lower << 16 : upper >> 16 | (lower & 0xFFFF0000);
  }
};

/// The sum, and the maximum, over the four lanes of a group, in each of them. All 32 lanes must call it.
__device__ inline float group_sum(float value) {
  value += shuffle_xor(value, 1);
  return value + shuffle_xor(value, 2);
}

__device__ inline float group_max(float value) {
  value = larger(value, shuffle_xor(value, 1));
  return larger(value, shuffle_xor(value, 2));
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
