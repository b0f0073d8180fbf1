#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

// How far elements moved: what Backend::sum_changes adds up, on every device.

namespace normtune {

/// The terms of a pair of elements, b before and a after, in the order in which Backend::SumChanges has their
/// sums. Behind these it has the maximum of |a - b|.
struct ChangeTerms {
  enum Index { changed, abs_change, sq_change, sq_before, sq_after, product, count };
  static constexpr int max_change = count, num_results = count + 1;
  double values[count];

  static constexpr ChangeTerms of(double b, double a) {
    const double change = a > b ? a - b : b - a;
    return {{a != b ? 1.0 : 0.0, change, change * change, b * b, a * a, a * b}};
  }
};

/// A histogram over magnitudes, fine enough for quantiles with a relative error of 1 %. Bin 0 holds zeros,
/// the others are 1/64 of an octave wide, from 2^-160, below the least float32, to 2^130, above the largest.
struct MagnitudeBins {
  static constexpr int64_t octaves = 290, count = 1 + 64 * octaves;

  static constexpr int64_t bin_of(double magnitude) {
    if (magnitude == 0) return 0;
    const auto bits = static_cast<int64_t>(std::bit_cast<uint64_t>(magnitude) >> shift);
    return 1 + std::clamp(bits - first, int64_t{0}, count - 2);
  }
  /// The middle of a bin.
  static constexpr double value_of(int64_t bin) {
    if (bin == 0) return 0;
    const auto bits = static_cast<uint64_t>(first + bin - 1);
    return std::bit_cast<double>((bits << shift) | (uint64_t{1} << (shift - 1)));
  }

 private:
  static constexpr int mantissa_bits = 6, shift = 52 - mantissa_bits;  // what bin_of() leaves of a mantissa
  static constexpr int64_t first = (1023 - 160) << mantissa_bits;  // 1023: the bias of a double's exponent
};

}  // namespace normtune
