// Part of loops.cpp: dropout with Philox4x32-10 on the fly.

/// The words of philox4x32 (tensor/philox.h) for `count` counters {example_id, position, first + i, head}, in
/// the lanes of a vector.
constexpr int philox_lanes = 16;

struct PhiloxBlock {
  alignas(64) uint32_t words[4][philox_lanes];
};

NORMTUNE_INLINE void philox_block(const DropoutRow& mask, uint32_t first, PhiloxBlock& block) {
  constexpr uint32_t multiplier_0 = 0xD2511F53, multiplier_1 = 0xCD9E8D57;
  constexpr uint32_t weyl_0 = 0x9E3779B9, weyl_1 = 0xBB67AE85;
#pragma omp simd
  for (int i = 0; i < philox_lanes; ++i) {
    uint32_t c0 = mask.example_id, c1 = mask.position, c2 = first + static_cast<uint32_t>(i), c3 = mask.head;
    uint32_t key_low = mask.key.low, key_high = mask.key.high;
    for (int round = 0; round < 10; ++round) {
      const uint64_t product_0 = static_cast<uint64_t>(multiplier_0) * c0;
      const uint64_t product_1 = static_cast<uint64_t>(multiplier_1) * c2;
      c0 = static_cast<uint32_t>(product_1 >> 32) ^ c1 ^ key_low;
      c2 = static_cast<uint32_t>(product_0 >> 32) ^ c3 ^ key_high;
      c1 = static_cast<uint32_t>(product_1);
      c3 = static_cast<uint32_t>(product_0);
      key_low += weyl_0;
      key_high += weyl_1;
    }
    block.words[0][i] = c0;
    block.words[1][i] = c1;
    block.words[2][i] = c2;
    block.words[3][i] = c3;
  }
}

template <typename T>
void dropout(const T* input, const DropoutRow& mask, T* output, int64_t n) {
  const T kept = static_cast<T>(mask.scale);
  constexpr int64_t block_channels = 4 * philox_lanes;
  PhiloxBlock block;
  for (int64_t begin = 0; begin < n; begin += block_channels) {
    philox_block(mask, static_cast<uint32_t>(begin / 4), block);
    const int64_t count = n - begin < block_channels ? n - begin : block_channels;
    for (int64_t i = 0; i < count; ++i) {
      const bool keep = block.words[i % 4][i / 4] >= mask.threshold;
      output[begin + i] = keep ? input[begin + i] * kept : T(0);
    }
  }
}
