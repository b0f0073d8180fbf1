#pragma once

#include <array>
#include <cstdint>

namespace normtune {

#if defined(__CUDACC__)
#define NORMTUNE_HOST_DEVICE __host__ __device__
#else
#define NORMTUNE_HOST_DEVICE
#endif

/// The 64-bit key of a Philox stream.
struct PhiloxKey {
  uint32_t low = 0, high = 0;
  bool operator==(const PhiloxKey&) const = default;
};

/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): four random words that
/// are a pure function of (counter, key). Nothing is stored, nothing is sequential: any element of a dropout
/// mask can be recomputed anywhere.
NORMTUNE_HOST_DEVICE inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                                               PhiloxKey key) {
  constexpr uint32_t multiplier_0 = 0xD2511F53, multiplier_1 = 0xCD9E8D57;
  constexpr uint32_t weyl_0 = 0x9E3779B9, weyl_1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product_0 = static_cast<uint64_t>(multiplier_0) * counter[0];
    const uint64_t product_1 = static_cast<uint64_t>(multiplier_1) * counter[2];
    counter = {
        static_cast<uint32_t>(product_1 >> 32) ^ counter[1] ^ key.low, static_cast<uint32_t>(product_1),
        static_cast<uint32_t>(product_0 >> 32) ^ counter[3] ^ key.high, static_cast<uint32_t>(product_0)};
    key.low += weyl_0;
    key.high += weyl_1;
  }
  return counter;
}

/// Finalizer of SplitMix64 (Steele et al. 2014): spreads the bits of a small number over all 64.
NORMTUNE_HOST_DEVICE constexpr uint64_t mix64(uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

/// The key of one use of dropout: `step` is the update step, `site` the fixed number of the place in the
/// model.
constexpr PhiloxKey dropout_key(uint64_t dropout_seed, int64_t step, int32_t site) {
  const uint64_t mixed =
      mix64(mix64(mix64(dropout_seed) ^ static_cast<uint64_t>(step)) ^ static_cast<uint64_t>(site));
  return {static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32)};
}

/// An element is dropped if its random word is below this value; `probability` in [0, 1).
constexpr uint32_t dropout_threshold(double probability) {
  return static_cast<uint32_t>(probability * 4294967296.0);
}

}  // namespace normtune
