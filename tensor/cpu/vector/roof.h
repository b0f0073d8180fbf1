// Part of loops.cpp: multiply-adds that wait for nothing, to measure what the machine can do at best.

/// Independent sums that hide a multiply-add's latency without running out of registers.
constexpr int independent_sums = vector_bytes == 64 ? 16 : 10;

template <typename T>
double multiply_adds(int64_t iterations) {
  typedef T Register __attribute__((vector_size(vector_bytes)));
  Register sums[independent_sums];  // different ones: of equal sums the compiler would compute a single one
  for (int j = 0; j < independent_sums; ++j) sums[j] = Register{} + T(j);
  const Register factor = Register{} + T(0.999), summand = Register{} + T(0.001);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (Register& sum : sums) sum = sum * factor + summand;
  }
  volatile T sink = 0;  // the sums must not be optimised away
  for (const Register& sum : sums) sink = sink + sum[0];
  return 2.0 * lanes<T> * independent_sums * static_cast<double>(iterations);
}
