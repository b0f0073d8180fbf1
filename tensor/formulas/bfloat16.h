// A part of other files, included inside their namespace. NORMTUNE_INLINE says how its function is declared
// there.

/// The upper half of a float32, rounded to nearest, ties to even: 8 bits of significand, the exponent of
/// float32. NaN stays NaN, of which the lower half alone may tell it from infinity.
NORMTUNE_INLINE uint16_t to_bfloat16(float value) {
  const auto bits = __builtin_bit_cast(uint32_t, value);
  constexpr uint32_t quiet = 0x40;
  if (value != value) return static_cast<uint16_t>(bits >> 16 | quiet);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
