#pragma once

#include "cuda/formulas.cuh"
#include "cuda/vectors.cuh"

// Products on tensor cores: a warp multiplies 16 x 16 matrices, D += A B, of factors in bfloat16 and sums in
// float32. Each lane brings a fragment of A and of B and gets one of D. With group = lane / 4 and member =
// lane % 4, which the PTX ISA calls groupID and threadID_in_group (chapter "Matrix Fragments for mma.m16n8k16
// with floating point type"), a lane's registers hold
//
//   A  register r  (row, column), (row, column + 1)   row = group + 8 (r % 2), column = 2 member + 8 (r / 2)
//   B  register r  (row, column), (row + 1, column)   row = 2 member + 8 (r % 2), column = group + 8 (r / 2)
//   D  element e   (row, column)                      row = group + 8 (e / 2 % 2),
//                                                     column = 2 member + e % 2 + 8 (e / 4)
//
// two elements of A or B in a register, the first in its lower half. So a D, rounded in pairs, is an A. The
// instruction's B and D have eight columns: a product here is two of them.

#if defined(__CUDACC__)
#define NORMTUNE_UNROLL _Pragma("unroll")  // for arrays that are to be registers
#else
#define NORMTUNE_UNROLL
#endif

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// d[4] += a[4] b[2]. All 32 lanes of a warp must call it.
__device__ inline void mma_m16n8k16(float* d, const uint32_t* a, const uint32_t* b) {
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

#if defined(__CUDACC__)
/// The address of something in shared memory, as PTX's instructions for shared memory take it.
__device__ inline uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}
#endif

/// Four 8 x 8 matrices X of 16-bit elements in shared memory. The lane 8 i + j brings the address of row j of
/// X number i, a multiple of 16 bytes. Register i gets its elements (group, 2 member), (group, 2 member + 1).
/// All 32 lanes of a warp must call it.
__device__ inline void ldmatrix_x4(uint32_t (&registers)[4], const uint32_t* row) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
#else
  emulated_ldmatrix_x4(registers, row, false);
#endif
}

/// The same of X^T: register i gets the elements (2 member, group), (2 member + 1, group) of X number i.
__device__ inline void ldmatrix_x4_trans(uint32_t (&registers)[4], const uint32_t* row) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
#else
  emulated_ldmatrix_x4(registers, row, true);
#endif
}

/// Begins to copy 16 bytes from device memory to shared memory, both at multiples of 16 bytes.
__device__ inline void begin_copy_of_16_bytes(uint32_t* shared, const void* from) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
               :
               : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(from))
               : "memory");
#else
  emulated_begin_copy_of_16_bytes(shared, from);
#endif
}

/// Waits until this thread's copies have ended. Other threads see them after the block's next barrier.
__device__ inline void wait_for_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_all;" : : : "memory");
#else
  emulated_wait_for_copies();
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
  static constexpr int size = 8;
  float elements[size] = {};

  /// Which of the lane's two rows an element is in.
  __device__ static constexpr int half(int element) { return element / 2 % 2; }
  __device__ static int row(int element) { return lane_group() + 8 * half(element); }
  __device__ static int column(int element) { return 2 * lane_member() + element % 2 + 8 * (element / 4); }
};

/// A lane's part of A.
struct LeftFragment {
  uint32_t registers[4];
};

/// A lane's part of B.
struct RightFragment {
  uint32_t registers[4];
};

__device__ inline void multiply_add(const LeftFragment& a, const RightFragment& b, Accumulator& d) {
  mma_m16n8k16(d.elements, a.registers, b.registers);
  mma_m16n8k16(d.elements + 4, a.registers, b.registers + 2);
}

/// A of the words pair(row, column), with the elements of two neighbouring columns each.
template <typename Pair>
__device__ inline LeftFragment left_fragment(const Pair& pair) {
  LeftFragment fragment;
  NORMTUNE_UNROLL
  for (int r = 0; r < 4; ++r) {
    fragment.registers[r] = pair(lane_group() + 8 * (r % 2), 2 * lane_member() + 8 * (r / 2));
  }
  return fragment;
}

/// A of a D, rounded.
__device__ inline LeftFragment left_fragment(const Accumulator& d) {
  LeftFragment fragment;
  NORMTUNE_UNROLL
  for (int r = 0; r < 4; ++r) {
    fragment.registers[r] = pack_bfloat16(d.elements[2 * r], d.elements[2 * r + 1]);
  }
  return fragment;
}

/// Rows of bfloat16 in shared memory, two columns in a word, for a multiple of 16 columns. Rows lie four
/// words further apart than they are long: they begin at multiples of 16 bytes, and eight neighbours, of
/// which an instruction reads 16 bytes each at once, are in different banks.
template <int columns>
struct BfloatTile {
  static constexpr int ld = columns / 2 + 4;
  uint32_t* words;

  static constexpr int num_words(int rows) { return rows * ld; }

  __device__ uint32_t* at(int row, int column) const { return words + row * ld + column / 2; }

  /// B = tile[row ... row + 15][column ... column + 15].
  __device__ RightFragment fragment(int row, int column) const {
    const int lane = static_cast<int>(threadIdx.x % warp_size);
    RightFragment fragment;
    ldmatrix_x4_trans(fragment.registers, at(row + lane % 16, column + 8 * (lane / 16)));
    return fragment;
  }

  /// B = tile[row ... row + 15][column ... column + 15]^T.
  __device__ RightFragment transposed_fragment(int row, int column) const {
    const int lane = static_cast<int>(threadIdx.x % warp_size);
    RightFragment fragment;
    ldmatrix_x4(fragment.registers, at(row + lane % 8 + 8 * (lane / 16), column + 8 * (lane / 8 % 2)));
    return fragment;
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
