// A part of other files, included inside their namespace: by tensor/cpu/vector/loops.cpp once for each
// instruction set, and by the CUDA kernels. NORMTUNE_INLINE says how its functions are declared there.
//
// Elementary functions that the compiler can vectorise (no branches, no calls) for float, and those of the
// standard library for double. Errors stay below 2 units in the last place of float unless said.

NORMTUNE_INLINE float as_float(uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}

NORMTUNE_INLINE uint32_t as_bits(float value) {
  return __builtin_bit_cast(uint32_t, value);
}

/// e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln(2) / 2. NaN stays NaN; overflow gives infinity.
NORMTUNE_INLINE float exponential(float x) {
  constexpr float log2_e = 1.44269504f;
  constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;
  constexpr float round_to_integer = 12582912.f;  // 1.5 * 2^23: the sum's last bits are the rounded value
  x = x < -104.f ? -104.f : x;
  x = x > 89.f ? 89.f : x;
  const float shifted = x * log2_e + round_to_integer;
  const float n = shifted - round_to_integer;
  const float r = (x - n * ln2_high) - n * ln2_low;
  // (e^r - 1 - r) / r^2, minimax
  float p = 0.00138146023f;
  p = p * r + 0.00836871564f;
  p = p * r + 0.041668389f;
  p = p * r + 0.166665211f;
  p = p * r + 0.49999994f;
  const float exp_r = (p * r) * r + r + 1.f;
  // 2^n in two factors: n reaches from -150 (denormal results) to 128.
  const int32_t exponent = static_cast<int32_t>(as_bits(shifted) - as_bits(round_to_integer));
  const int32_t half = exponent >> 1;
  const float factor_1 = as_float(static_cast<uint32_t>(half + 127) << 23);
  const float factor_2 = as_float(static_cast<uint32_t>(exponent - half + 127) << 23);
  return exp_r * factor_1 * factor_2;
}

NORMTUNE_INLINE double exponential(double x) {
  return ::exp(x);
}

/// Density and distribution function of the standard normal distribution.
template <typename T>
struct Normal {
  T density, distribution;
};

/// For a = |x| and t = 1 / (1 + 0.3 a): Phi(-a) = exp(-a^2 / 2) t g(t), g a minimax polynomial of
/// Phi(-a) exp(a^2 / 2) / t (relative error 4e-9). The form keeps the relative precision of the left tail.
NORMTUNE_INLINE Normal<float> normal(float x) {
  constexpr float inverse_sqrt_2_pi = 0.398942280f;
  const float a = x < 0.f ? -x : x;
  const float e = exponential(-0.5f * x * x);
  const float t = 1.f / (1.f + 0.3f * a);
  float g = -0.0206234697f;
  g = g * t + 0.112435617f;
  g = g * t - 0.228213608f;
  g = g * t + 0.191784531f;
  g = g * t - 0.0794234946f;
  g = g * t + 0.0961568356f;
  g = g * t + 0.0783896521f;
  g = g * t + 0.110235423f;
  g = g * t + 0.119571812f;
  g = g * t + 0.119686693f;
  const float tail = e * (t * g);
  return {e * inverse_sqrt_2_pi, x > 0.f ? 1.f - tail : tail};
}

NORMTUNE_INLINE Normal<double> normal(double x) {
  constexpr double inverse_sqrt_2_pi = 0.39894228040143267794;
  constexpr double inverse_sqrt_2 = 0.70710678118654752440;
  return {::exp(-0.5 * x * x) * inverse_sqrt_2_pi, 0.5 * ::erfc(-x * inverse_sqrt_2)};
}

NORMTUNE_INLINE float hyperbolic_tangent(float x) {
  const float a = x < 0.f ? -x : x;
  const float square = x * x;
  // (tanh(x) - x) / x^3 for a < 0.625, minimax
  float p = -0.00565937720f;
  p = p * square + 0.0205995329f;
  p = p * square - 0.0537280291f;
  p = p * square + 0.133313075f;
  p = p * square - 0.333332777f;
  const float small = p * square * x + x;
  const float large = 1.f - 2.f / (exponential(2.f * a) + 1.f);
  const float signed_large = x < 0.f ? -large : large;
  return a < 0.625f ? small : signed_large;
}

NORMTUNE_INLINE double hyperbolic_tangent(double x) {
  return ::tanh(x);
}

// g++ makes one instruction of the built-in functions, nvcc of the library's.
#if defined(__CUDA_ARCH__)
NORMTUNE_INLINE float square_root(float x) {
  return ::sqrtf(x);
}

NORMTUNE_INLINE double square_root(double x) {
  return ::sqrt(x);
}
#else
NORMTUNE_INLINE float square_root(float x) {
  return __builtin_sqrtf(x);
}

NORMTUNE_INLINE double square_root(double x) {
  return __builtin_sqrt(x);
}
#endif
