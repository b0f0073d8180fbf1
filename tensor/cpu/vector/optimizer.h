// Part of loops.cpp: the update rules of the optimisers.

template <typename T>
void adamw(T* parameter, const T* gradient, T* first_moment, T* second_moment, const AdamWFactors& factors,
           int64_t n) {
  const T beta1 = static_cast<T>(factors.beta1), rest1 = static_cast<T>(1 - factors.beta1);
  const T beta2 = static_cast<T>(factors.beta2), rest2 = static_cast<T>(1 - factors.beta2);
  const T eps = static_cast<T>(factors.eps), gradient_scale = static_cast<T>(factors.gradient_scale);
  const T step_size = static_cast<T>(factors.step_size), root_scale = static_cast<T>(factors.root_scale);
  const T decay_before = static_cast<T>(factors.decay_before),
          decay_after = static_cast<T>(factors.decay_after);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradient_scale * gradient[i];
    const T m = beta1 * first_moment[i] + rest1 * g;
    const T v = beta2 * second_moment[i] + rest2 * g * g;
    first_moment[i] = m;
    second_moment[i] = v;
    const T moved = decay_before * parameter[i] - step_size * m / (square_root(v) * root_scale + eps);
    parameter[i] = decay_after * moved;
  }
}

template <typename T>
void sgd(T* parameter, const T* gradient, T lr, T weight_decay, T gradient_scale, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    parameter[i] -= lr * (gradient_scale * gradient[i] + weight_decay * parameter[i]);
  }
}
