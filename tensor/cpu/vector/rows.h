// Part of loops.cpp: softmax and layer normalization of one row.

template <typename T>
void exp_shifted(const T* input, T factor, T shift, T* output, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) output[i] = exponential(factor * input[i] - shift);
}

template <typename T>
LogSumExp softmax(const T* input, T factor, T* output, int64_t n) {
  T max = factor * input[0];
#pragma omp simd reduction(max : max)
  for (int64_t i = 0; i < n; ++i) {
    const T value = factor * input[i];
    max = value > max ? value : max;
  }
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) {
    output[i] = exponential(factor * input[i] - max);
    total += output[i];
  }
  const T inverse = T(1) / total;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) output[i] *= inverse;
  return {static_cast<double>(max), ::log(static_cast<double>(total))};
}

template <typename T>
void softmax_backward(const T* probs, const T* grad_output, T factor, T* grad_input, int64_t n) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) dot += probs[i] * grad_output[i];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) grad_input[i] = factor * probs[i] * (grad_output[i] - dot);
}

/// Sums are taken in double: a variance near 1e60 (values around 1e30) has no place in a float.
template <typename T>
T layer_norm(const T* sum, const T* weight, const T* bias, double eps, T* normalized, T* output, int64_t n) {
  const T first = sum[0];
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += static_cast<double>(sum[i] - first);
  const double mean = total / static_cast<double>(n);  // of the shifted values
  double squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; ++i) {
    const double centered = static_cast<double>(sum[i] - first) - mean;
    squares += centered * centered;
  }
  const T rstd = static_cast<T>(1 / __builtin_sqrt(squares / static_cast<double>(n) + eps));
  const T shift = static_cast<T>(mean);
  if (normalized == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) output[i] = ((sum[i] - first) - shift) * rstd * weight[i] + bias[i];
    return rstd;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T value = ((sum[i] - first) - shift) * rstd;
    normalized[i] = value;
    output[i] = value * weight[i] + bias[i];
  }
  return rstd;
}

template <typename T>
void layer_norm_backward(const T* grad_output, const T* normalized, T rstd, const T* weight, T* grad_sum,
                         T* grad_weight, T* grad_bias, int64_t n) {
  if (grad_weight != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) grad_weight[i] += grad_output[i] * normalized[i];
  }
  if (grad_bias != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) grad_bias[i] += grad_output[i];
  }
  if (grad_sum == nullptr) return;
  double sum_g = 0, sum_g_normalized = 0;
#pragma omp simd reduction(+ : sum_g, sum_g_normalized)
  for (int64_t i = 0; i < n; ++i) {
    const T g = grad_output[i] * weight[i];
    sum_g += static_cast<double>(g);
    sum_g_normalized += static_cast<double>(g * normalized[i]);
  }
  const T mean_g = static_cast<T>(sum_g / static_cast<double>(n));
  const T mean_g_normalized = static_cast<T>(sum_g_normalized / static_cast<double>(n));
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    grad_sum[i] = rstd * (grad_output[i] * weight[i] - mean_g - normalized[i] * mean_g_normalized);
  }
}
