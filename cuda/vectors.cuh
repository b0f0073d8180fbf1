#pragma once

#include "cuda/block.cuh"
#include "cuda/formulas.cuh"
#include "tensor/bfloat16.h"

// Kernels take rows four elements at a time: one access of memory for each thread, and one Philox counter.
// `T` is float or what is widened and rounded on the way: bfloat16, derivatives in a byte.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// Two numbers rounded to bfloat16 (to nearest, ties to even), `low` in the lower half.
__device__ inline uint32_t pack_bfloat16(float low, float high) {
#if defined(__CUDACC__)
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#else
  return bfloat16(low).bits | uint32_t{bfloat16(high).bits} << 16;
#endif
}

/// The numbers in the lower and in the upper half of a word.
__device__ inline float lower_bfloat16(uint32_t word) {
  return __builtin_bit_cast(float, word << 16);
}
__device__ inline float upper_bfloat16(uint32_t word) {
  return __builtin_bit_cast(float, word & 0xFFFF0000);
}

/// Rounds one number.
template <typename T>
__device__ inline T rounded(float value) {
  return T(value);
}
#if defined(__CUDACC__)
template <>
__device__ inline bfloat16 rounded<bfloat16>(float value) {
  return __builtin_bit_cast(bfloat16, static_cast<uint16_t>(pack_bfloat16(value, 0.f)));
}
#endif

/// The derivative of an activation function, as a byte.
struct DerivativeByte {
  uint8_t byte;

  DerivativeByte() = default;
  __device__ explicit DerivativeByte(float derivative) : byte(derivative_byte(derivative)) {}
  __device__ explicit operator float() const { return derivative_of_byte<float>(byte); }
};

/// Four neighbouring elements, as kernels compute with them.
struct Four {
  float values[4];

  __device__ float& operator[](int i) { return values[i]; }
  __device__ float operator[](int i) const { return values[i]; }
};

struct alignas(16) FourWords {
  float values[4];
};

/// Four bfloat16.
struct alignas(8) TwoWords {
  uint32_t words[2];
};

struct alignas(4) FourBytes {
  DerivativeByte bytes[4];
};

/// The elements from[0], ..., from[3], at a multiple of four elements.
__device__ inline Four load_four(const float* from) {
  const FourWords four = *reinterpret_cast<const FourWords*>(from);
  return {{four.values[0], four.values[1], four.values[2], four.values[3]}};
}
__device__ inline Four load_four(const bfloat16* from) {
  const TwoWords four = *reinterpret_cast<const TwoWords*>(from);
  return {{lower_bfloat16(four.words[0]), upper_bfloat16(four.words[0]), lower_bfloat16(four.words[1]),
           upper_bfloat16(four.words[1])}};
}
__device__ inline Four load_four(const DerivativeByte* from) {
  const FourBytes four = *reinterpret_cast<const FourBytes*>(from);
  Four derivatives;
  for (int i = 0; i < 4; ++i) derivatives[i] = static_cast<float>(four.bytes[i]);
  return derivatives;
}

__device__ inline void store_four(float* to, const Four& four) {
  *reinterpret_cast<FourWords*>(to) = {{four[0], four[1], four[2], four[3]}};
}
__device__ inline void store_four(bfloat16* to, const Four& four) {
  *reinterpret_cast<TwoWords*>(to) = {{pack_bfloat16(four[0], four[1]), pack_bfloat16(four[2], four[3])}};
}
__device__ inline void store_four(DerivativeByte* to, const Four& derivatives) {
  FourBytes four;
  for (int i = 0; i < 4; ++i) four.bytes[i] = DerivativeByte(derivatives[i]);
  *reinterpret_cast<FourBytes*>(to) = four;
}

/// How a kernel reads and writes rows: four elements at once where they begin at multiples of four, or one by
/// one.
struct FourAccess {
  bool is_aligned;

  /// The elements from[0], ..., from[count - 1], count at least 1; zero for those beyond, if it is less
  /// than 4.
  template <typename T>
  __device__ Four load(const T* from, int64_t count) const {
    if (is_aligned && count >= 4) return load_four(from);
    Four four{};
    for (int i = 0; i < 4; ++i) {
      if (i < count) four[i] = static_cast<float>(from[i]);
    }
    return four;
  }

  template <typename T>
  __device__ void store(T* to, const Four& four, int64_t count) const {
    if (is_aligned && count >= 4) return store_four(to, four);
    for (int i = 0; i < 4; ++i) {
      if (i < count) to[i] = rounded<T>(four[i]);
    }
  }
};

/// The same where all fours are aligned and whole: known when a kernel is compiled, it can have many reads on
/// their way at a time.
struct WholeFourAccess {
  template <typename T>
  __device__ Four load(const T* from, int64_t /*count*/) const {
    return load_four(from);
  }
  template <typename T>
  __device__ void store(T* to, const Four& four, int64_t /*count*/) const {
    store_four(to, four);
  }
};

/// For rows that begin at these addresses and lie `row_distance` elements apart (0: a single row). An address
/// may be null.
template <typename... T>
FourAccess four_access(int64_t row_distance, const T*... addresses) {
  const auto is_aligned = [](const auto* address) {
    return reinterpret_cast<uintptr_t>(address) % (4 * sizeof(*address)) == 0;
  };
  FourAccess access{};
  access.is_aligned = row_distance % 4 == 0 && (is_aligned(addresses) && ...);
  return access;
}

/// Calls body with the access to such rows of so many columns: in whole fours, or element by element.
template <typename Body>
void with_access(FourAccess access, int64_t columns, const Body& body) {
  if (access.is_aligned && columns % 4 == 0) return body(WholeFourAccess{});
  body(FourAccess{});
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
