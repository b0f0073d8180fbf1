// Part of loops.cpp: multiply-adds that wait for nothing, to measure what the machine can do at best.

/// Bytes of one vector register, and independent sums that hide a multiply-add's latency without running out of
/// registers.
#if defined(__AVX512F__)
constexpr int register_bytes = 64, independent_sums = 16;
#elif defined(__AVX__)
constexpr int register_bytes = 32, independent_sums = 10;
#else
constexpr int register_bytes = 16, independent_sums = 10;
#endif

template <typename T>
double multiply_adds(int64_t iterations) {
  typedef T Register __attribute__((vector_size(register_bytes)));
  constexpr int lanes = register_bytes / static_cast<int>(sizeof(T));
  Register sums[independent_sums] = {};
  const Register factor = Register{} + T(0.999), summand = Register{} + T(0.001);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < independent_sums; ++j) sums[j] = sums[j] * factor + summand;
  }
  volatile T sink = 0;  // the sums must not be optimised away
  for (const Register& sum : sums) sink = sink + sum[0];
  return 2.0 * lanes * independent_sums * static_cast<double>(iterations);
}
