// Compiled for processors with AVX-512 and bfloat16. Includes no header with inline functions
// (tensor/cpu/vector/loops.cpp says why).
#include "tensor/cpu/bf16/packed.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>

#define NORMTUNE_INLINE static inline __attribute__((always_inline))

namespace normtune::bf16 {
namespace {

#include "tensor/cpu/vector/transpose.h"

/// A tile's 16 rows of 16 pairs of terms.
struct Pairs {
  typedef int32_t Row __attribute__((vector_size(64)));
  Row rows[tile_lines];
};

/// The first `count` of 16 floats; zeros behind them.
__m512 load(const float* data, int64_t count) {
  if (count >= 16) return _mm512_loadu_ps(data);
  const auto mask = static_cast<__mmask16>((1U << (count < 0 ? 0 : count)) - 1);
  return _mm512_maskz_loadu_ps(mask, data);
}

/// Row i holds the pairs of line i: its terms are contiguous.
Pairs pairs_by_line(const float* data, int64_t line_step, int64_t lines, int64_t terms) {
  Pairs pairs;
  for (int64_t i = 0; i < tile_lines; ++i) {
    if (i >= lines) {
      pairs.rows[i] = Pairs::Row{};
      continue;
    }
    const float* line = data + i * line_step;
    pairs.rows[i] = (Pairs::Row)_mm512_cvtne2ps_pbh(load(line + 16, terms - 16), load(line, terms));
  }
  return pairs;
}

/// Row p holds the pair p of all lines: what is contiguous is the lines.
Pairs pairs_by_term(const float* data, int64_t term_step, int64_t lines, int64_t terms) {
  Pairs pairs;
  for (int64_t p = 0; p < tile_lines; ++p) {
    const float* even = data + 2 * p * term_step;
    const __m512 first = load(even, 2 * p < terms ? lines : 0);
    const __m512 second = load(even + term_step, 2 * p + 1 < terms ? lines : 0);
    const __m512i low = _mm512_maskz_cvtepu16_epi32(0xFFFF, (__m256i)_mm512_cvtneps_pbh(first));
    const __m512i high = _mm512_maskz_cvtepu16_epi32(0xFFFF, (__m256i)_mm512_cvtneps_pbh(second));
    pairs.rows[p] = (Pairs::Row)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }
  return pairs;
}

/// The two tiles of a step of a group.
template <bool pairs_below_each_other>
void pack_step(const Lines& args, int64_t group, int64_t term, uint16_t* packed) {
  for (int64_t line = group; line < group + group_lines; line += tile_lines, packed += tile_elements) {
    const float* data = args.data + line * args.line_step + term * args.term_step;
    const int64_t lines = args.lines - line, terms = args.terms - term;
    const bool by_line = args.term_step == 1;
    Pairs pairs = by_line ? pairs_by_line(data, args.line_step, lines, terms)
                          : pairs_by_term(data, args.term_step, lines < 0 ? 0 : lines, terms);
    if (by_line == pairs_below_each_other) transpose(pairs.rows);
    for (int64_t i = 0; i < tile_lines; ++i)
      _mm512_store_si512(packed + i * tile_terms, (__m512i)pairs.rows[i]);
  }
}

/// Reads what is contiguous, lines or terms, from its beginning to its end: the processor fetches it in
/// advance.
template <bool pairs_below_each_other>
void pack(const Lines& args, uint16_t* packed) {
  const int64_t steps = (args.terms + tile_terms - 1) / tile_terms;
  const auto pack_at = [&](int64_t group, int64_t step) {
    pack_step<pairs_below_each_other>(args, group * group_lines, step * tile_terms,
                                      packed + (group * steps + step) * group_elements);
  };
  const int64_t groups = (args.lines + group_lines - 1) / group_lines;
  if (args.term_step == 1) {
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t step = 0; step < steps; ++step) pack_at(group, step);
    }
  } else {
    for (int64_t step = 0; step < steps; ++step) {
      for (int64_t group = 0; group < groups; ++group) pack_at(group, step);
    }
  }
}

}  // namespace

void pack_a(const Lines& rows, uint16_t* packed) {
  pack<false>(rows, packed);
}

void pack_b(const Lines& columns, uint16_t* packed) {
  pack<true>(columns, packed);
}

}  // namespace normtune::bf16

#else

namespace normtune::bf16 {
void pack_a(const Lines&, uint16_t*) {}
void pack_b(const Lines&, uint16_t*) {}
}  // namespace normtune::bf16

#endif
