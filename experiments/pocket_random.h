#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "tensor/philox.h"

namespace normtune {

/// A stream of random choices that is a pure function of its address, e.g. {seed, purpose, epoch, index}: the
/// same on every machine, and independent of what other streams were asked.
class PocketRandom {
 public:
  explicit PocketRandom(std::initializer_list<uint64_t> address);

  /// Uniform in 0 .. bound - 1; bound >= 1.
  int below(int bound);
  /// True in `percent` of 100 cases.
  bool chance(int percent) { return below(100) < percent; }
  /// An index, drawn with probability weight / sum of the weights.
  int weighted(std::initializer_list<int> weights);

  template <typename T>
  T pick(std::initializer_list<T> values) {
    return values.begin()[below(static_cast<int>(values.size()))];
  }

 private:
  PhiloxKey key_;
  uint64_t drawn_ = 0;
  std::array<uint32_t, 4> words_{};
};

}  // namespace normtune
