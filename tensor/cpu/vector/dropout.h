// Part of loops.cpp: dropout with Philox4x32-10 on the fly.

/// 64-bit lanes, of which Philox uses the lower halves: the upper halves may hold anything.
typedef uint64_t Lanes __attribute__((vector_size(vector_bytes)));
constexpr int64_t num_lanes = vector_bytes / 8;

/// The 64-bit product of a number and the lower half of each lane.
NORMTUNE_INLINE Lanes multiply_lower_halves(Lanes a, uint32_t factor) {
#if defined(__AVX512F__)
  // The form with a mask, because the plain one makes g++ 12 warn of its own header.
  return (Lanes)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, _mm512_set1_epi64(factor));
#elif defined(__AVX2__)
  return (Lanes)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(factor));
#elif defined(__SSE2__)
  return (Lanes)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(factor));
#else
  return (a & 0xFFFFFFFF) * factor;
#endif
}

/// Two vectors of counters at a time: while one waits for its product, the other works. More would be faster
/// by little, and waste words on short rows, as those of attention to a short sequence are.
constexpr int64_t philox_vectors = 2, philox_channels = philox_vectors * num_lanes * 4;

/// Every second lane of a and of b in turn: {a[0], b[0], a[2], b[2], ...} and {a[1], b[1], a[3], b[3], ...}.
#if defined(__AVX512F__)
#define NORMTUNE_EVEN_LANES 0, 8, 2, 10, 4, 12, 6, 14
#define NORMTUNE_ODD_LANES 1, 9, 3, 11, 5, 13, 7, 15
#elif defined(__AVX2__)
#define NORMTUNE_EVEN_LANES 0, 4, 2, 6
#define NORMTUNE_ODD_LANES 1, 5, 3, 7
#else
#define NORMTUNE_EVEN_LANES 0, 2
#define NORMTUNE_ODD_LANES 1, 3
#endif
NORMTUNE_INLINE Lanes even_lanes(Lanes a, Lanes b) {
  return __builtin_shufflevector(a, b, NORMTUNE_EVEN_LANES);
}
NORMTUNE_INLINE Lanes odd_lanes(Lanes a, Lanes b) {
  return __builtin_shufflevector(a, b, NORMTUNE_ODD_LANES);
}

/// The words of philox4x32 (tensor/philox.h) for the counters {example_id, position, first + i, head}, in the
/// order of the channels.
NORMTUNE_INLINE void philox_words(const DropoutRow& mask, uint32_t first, uint32_t* words) {
  // Neighbouring lanes hold counters half a vector apart, so that every second lane is the next counter.
  Lanes offsets;
  for (int64_t i = 0; i < num_lanes; ++i) {
    offsets[i] = static_cast<uint64_t>(i / 2 + (i % 2) * (num_lanes / 2));
  }
  Lanes c0[philox_vectors], c1[philox_vectors], c2[philox_vectors], c3[philox_vectors];
  for (int64_t v = 0; v < philox_vectors; ++v) {
    c0[v] = Lanes{} + mask.example_id;
    c1[v] = Lanes{} + mask.position;
    c2[v] = offsets + (first + static_cast<uint32_t>(v * num_lanes));
    c3[v] = Lanes{} + mask.head;
  }
  uint32_t key_low = mask.key.low, key_high = mask.key.high;
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    for (int64_t v = 0; v < philox_vectors; ++v) {
      const Lanes product_0 = multiply_lower_halves(c0[v], 0xD2511F53);
      const Lanes product_1 = multiply_lower_halves(c2[v], 0xCD9E8D57);
      c0[v] = (product_1 >> 32) ^ c1[v] ^ key_low;
      c2[v] = (product_0 >> 32) ^ c3[v] ^ key_high;
      c1[v] = product_1;
      c3[v] = product_0;
    }
    key_low += 0x9E3779B9;
    key_high += 0xBB67AE85;
  }
  for (int64_t v = 0; v < philox_vectors; ++v) {
    // Pairs of little-endian words: the first and second two of each counter.
    const Lanes pair_0 = (c0[v] & 0xFFFFFFFF) | (c1[v] << 32), pair_1 = (c2[v] & 0xFFFFFFFF) | (c3[v] << 32);
    const Lanes lower = even_lanes(pair_0, pair_1), upper = odd_lanes(pair_0, pair_1);
    __builtin_memcpy(words + 4 * v * num_lanes, &lower, sizeof(lower));
    __builtin_memcpy(words + (4 * v + 2) * num_lanes, &upper, sizeof(upper));
  }
}

template <typename T>
NORMTUNE_INLINE void keep_or_zero(const T* input, const uint32_t* words, uint32_t threshold, T scale,
                                  T* output, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) output[i] = words[i] >= threshold ? input[i] * scale : T(0);
}

/// Calls keep(begin, words, count) for each philox_channels of a row.
template <typename Keep>
NORMTUNE_INLINE void for_each_words(const DropoutRow& mask, int64_t n, const Keep& keep) {
  uint32_t words[philox_channels];
  for (int64_t begin = 0; begin < n; begin += philox_channels) {
    philox_words(mask, static_cast<uint32_t>(begin / 4), words);
    keep(begin, words, n - begin < philox_channels ? n - begin : philox_channels);
  }
}

template <typename T>
void dropout(const T* input, const DropoutRow& mask, T* output, int64_t n) {
  const T scale = static_cast<T>(mask.scale);
  for_each_words(mask, n, [&](int64_t begin, const uint32_t* words, int64_t count) {
    keep_or_zero(input + begin, words, mask.threshold, scale, output + begin, count);
  });
}

template <typename T>
void dropout_both(const T* first, const T* second, const DropoutRow& mask, T* first_output, T* second_output,
                  int64_t n) {
  const T scale = static_cast<T>(mask.scale);
  for_each_words(mask, n, [&](int64_t begin, const uint32_t* words, int64_t count) {
    keep_or_zero(first + begin, words, mask.threshold, scale, first_output + begin, count);
    keep_or_zero(second + begin, words, mask.threshold, scale, second_output + begin, count);
  });
}
