// Part of loops.cpp: arithmetic on whole arrays.

template <typename T>
void add(const T* a, const T* b, T* output, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) output[i] = a[i] + b[i];
}

template <typename T>
void multiply(const T* a, const T* b, T* output, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) output[i] = a[i] * b[i];
}

template <typename T>
void scale(const T* input, T factor, T* output, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) output[i] = factor * input[i];
}

template <typename T>
void add_scaled(const T* input, T factor, T* output, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) output[i] += factor * input[i];
}

template <typename T>
void add_squares(const T* input, T* output, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) output[i] += input[i] * input[i];
}

template <typename T>
double sum(const T* input, int64_t n) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += static_cast<double>(input[i]);
  return total;
}

template <typename T>
double sum_of_squares(const T* input, int64_t n) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += static_cast<double>(input[i]) * static_cast<double>(input[i]);
  return total;
}
