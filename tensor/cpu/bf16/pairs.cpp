// Compiled for processors with AVX-512 and bfloat16. Includes no header with inline functions
// (tensor/cpu/vector/loops.cpp says why).
#include "tensor/cpu/bf16/packed.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>

namespace normtune::bf16 {
namespace {

/// Rows of c that are computed at a time: their sums take 16 registers.
constexpr int64_t strip_rows = 8;

/// Adds to each element of sum the products of a pair of terms.
__m512 add_products(__m512 sum, __m512i a_pair, __m512i b_pairs) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a_pair, (__m512bh)b_pairs);
}

/// The pair that begins at `terms`, in all elements.
__m512i broadcast_pair(const uint16_t* terms) {
  int pair;
  __builtin_memcpy(&pair, terms, sizeof(pair));
  return _mm512_set1_epi32(pair);
}

/// c [8, 32] (+)= rows of a group x a group of columns.
void multiply_strip(const uint16_t* a, const uint16_t* b, int64_t steps, float* c, int64_t ldc,
                    bool accumulate) {
  __m512 left[strip_rows], right[strip_rows];
#pragma GCC unroll 8
  for (int64_t i = 0; i < strip_rows; ++i) {
    left[i] = accumulate ? _mm512_loadu_ps(c + i * ldc) : _mm512_setzero_ps();
    right[i] = accumulate ? _mm512_loadu_ps(c + i * ldc + tile_lines) : _mm512_setzero_ps();
  }
  for (int64_t step = 0; step < steps; ++step, a += group_elements, b += group_elements) {
    for (int64_t term = 0; term < tile_terms; term += 2) {
      const __m512i b_left = _mm512_load_si512(b + term * tile_lines);
      const __m512i b_right = _mm512_load_si512(b + tile_elements + term * tile_lines);
#pragma GCC unroll 8
      for (int64_t i = 0; i < strip_rows; ++i) {
        const __m512i pair = broadcast_pair(a + i * tile_terms + term);
        left[i] = add_products(left[i], pair, b_left);
        right[i] = add_products(right[i], pair, b_right);
      }
    }
  }
#pragma GCC unroll 8
  for (int64_t i = 0; i < strip_rows; ++i) {
    _mm512_storeu_ps(c + i * ldc, left[i]);
    _mm512_storeu_ps(c + i * ldc + tile_lines, right[i]);
  }
}

/// c [32, 32] (+)= a group of rows x a group of columns.
void multiply_group(const uint16_t* a, const uint16_t* b, int64_t steps, float* c, int64_t ldc,
                    bool accumulate) {
  for (int64_t row = 0; row < group_lines; row += strip_rows) {
    multiply_strip(a + row * tile_terms, b, steps, c + row * ldc, ldc, accumulate);
  }
}

#include "tensor/cpu/bf16/groups.h"

double multiply_adds(int64_t iterations) {
  constexpr int independent_sums = 16;
  __m512 sums[independent_sums];  // different ones: of equal sums the compiler would compute a single one
  for (int j = 0; j < independent_sums; ++j) sums[j] = _mm512_set1_ps(static_cast<float>(j));
  const __m512i factor = _mm512_set1_epi16(0x3A00);  // 0.0005
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (__m512& sum : sums) sum = add_products(sum, factor, factor);
  }
  volatile float sink = 0;  // the sums must not be optimised away
  for (const __m512& sum : sums) sink = sink + sum[0];
  return 2.0 * independent_sums * 2 * 16 * static_cast<double>(iterations);
}

}  // namespace

extern const Instructions pairs{multiply_groups, multiply_adds};

}  // namespace normtune::bf16

#else

namespace normtune::bf16 {
extern const Instructions pairs{};
}

#endif
