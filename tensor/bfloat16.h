#pragma once

#include <cstdint>

namespace normtune {

/// A number in bfloat16: the upper half of a float32, which is its exponent and 8 bits of significand. A way
/// to keep numbers, not to compute with them.
struct bfloat16 {
  uint16_t bits;

  bfloat16() = default;
  /// Rounds to nearest, ties to even. NaN stays NaN, of which the lower half alone may tell it from infinity.
  explicit constexpr bfloat16(float value) : bits(round(value)) {}
  explicit constexpr operator float() const { return __builtin_bit_cast(float, uint32_t{bits} << 16); }

 private:
  static constexpr uint16_t round(float value) {
    const auto bits = __builtin_bit_cast(uint32_t, value);
    constexpr uint32_t quiet = 0x40;
    if (value != value) return static_cast<uint16_t>(bits >> 16 | quiet);
    return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  }
};

}  // namespace normtune
