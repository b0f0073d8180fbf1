// Part of loops.cpp: multiply-adds that wait for nothing, to measure what the machine can do at best.

/// Independent sums that hide a multiply-add's latency without running out of registers.
constexpr int independent_sums = vector_bytes == 64 ? 16 : 10;

template <typename T>
double multiply_adds(int64_t iterations) {
  typedef T Register __attribute__((vector_size(vector_bytes)));
  // Read at run time: the compiler would leave out a sum that it can foresee (1 stays 1 here) and compute
  // equal ones once.
  volatile T first = 0, factor_value = T(0.999), summand_value = T(0.001);
  Register sums[independent_sums];
  for (Register& sum : sums) sum = Register{} + first;
  const Register factor = Register{} + factor_value, summand = Register{} + summand_value;
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (Register& sum : sums) sum = sum * factor + summand;
  }
  volatile T sink = 0;  // the sums must not be optimised away
  for (const Register& sum : sums) sink = sink + sum[0];
  return 2.0 * lanes<T> * independent_sums * static_cast<double>(iterations);
}
