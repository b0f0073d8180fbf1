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

template <typename T>
void multiply_accumulate(const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc, int64_t rows,
                         int64_t k, int64_t n) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t l = 0; l < k; ++l) {
      const T factor = a[i * lda + l];
      const T* b_row = b + l * ldb;
      T* c_row = c + i * ldc;
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) c_row[j] += factor * b_row[j];
    }
  }
}
