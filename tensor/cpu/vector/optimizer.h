// Part of loops.cpp: the update rules of formulas/optimizer.h on whole arrays.

template <typename T>
void adamw(T* parameter, const T* gradient, T* first_moment, T* second_moment, const AdamWFactors& factors,
           T gradient_scale, int64_t n) {
  const AdamWScalars<T> scalars = adamw_scalars<T>(factors);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    adamw_element(parameter[i], gradient[i], gradient_scale, first_moment[i], second_moment[i], scalars);
  }
}

template <typename T>
void sgd(T* parameter, const T* gradient, T lr, T weight_decay, T gradient_scale, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sgd_element(parameter[i], gradient[i], lr, weight_decay, gradient_scale);
}
