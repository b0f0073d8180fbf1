#pragma once

#include <cstdint>

#include "tensor/philox.h"

namespace normtune {

/// Random numbers drawn one after another that belong to one place of a run: a function of (seed, purpose,
/// epoch, index) and of the number of draws before. Streams of different places do not share words, so an
/// example can be drawn again at any time without those before it.
class RandomStream {
 public:
  /// `purpose` tells the streams of different uses apart.
  RandomStream(uint64_t seed, uint64_t purpose, int64_t epoch, int64_t index)
      : epoch_(static_cast<uint32_t>(epoch)), index_(static_cast<uint64_t>(index)) {
    const uint64_t mixed = mix64(mix64(seed) ^ purpose);
    key_ = {static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32)};
  }

  /// All 2^64 values are equally likely.
  uint64_t next() {
    const auto words = philox4x32(
        {num_drawn_++, epoch_, static_cast<uint32_t>(index_), static_cast<uint32_t>(index_ >> 32)}, key_);
    return words[0] | static_cast<uint64_t>(words[1]) << 32;
  }
  /// Uniform in [0, 1).
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// Uniform in [0, bound), bound > 0: the words below 2^64 mod bound are drawn again, so that every
  /// remainder comes from equally many words.
  int64_t below(int64_t bound) {
    const auto unsigned_bound = static_cast<uint64_t>(bound);
    const uint64_t rejected = (0 - unsigned_bound) % unsigned_bound;
    uint64_t word = next();
    while (word < rejected) word = next();
    return static_cast<int64_t>(word % unsigned_bound);
  }

 private:
  PhiloxKey key_;
  uint32_t epoch_;
  uint64_t index_;
  uint32_t num_drawn_ = 0;
};

}  // namespace normtune
