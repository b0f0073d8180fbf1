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

template <typename T>
T layer_norm(const T* sum, const T* weight, const T* bias, double eps, T* normalized, T* output, int64_t n) {
  const T first = sum[0];
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += from_first(sum[i], first);
  const double mean = total / static_cast<double>(n);
  double squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; ++i) squares += squared_deviation(sum[i], first, mean);
  const RowStatistics<T> row = row_statistics(first, mean, squares / static_cast<double>(n), eps);
  if (normalized == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) output[i] = normalize(sum[i], row) * weight[i] + bias[i];
    return row.rstd;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T value = normalize(sum[i], row);
    normalized[i] = value;
    output[i] = value * weight[i] + bias[i];
  }
  return row.rstd;
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
    grad_sum[i] =
        normalize_backward(grad_output[i] * weight[i], normalized[i], rstd, mean_g, mean_g_normalized);
  }
}
