// A part of other files, included inside their namespace after formulas/math.h (which says how).
//
// The update rules of the optimisers, for one element.

/// AdamWFactors in the type of the elements.
template <typename T>
struct AdamWScalars {
  T beta1, rest1, beta2, rest2;  // rest = 1 - beta
  T eps, step_size, root_scale, decay_before, decay_after;
};

template <typename T>
NORMTUNE_INLINE AdamWScalars<T> adamw_scalars(const AdamWFactors& factors) {
  return {static_cast<T>(factors.beta1),      static_cast<T>(1 - factors.beta1),
          static_cast<T>(factors.beta2),      static_cast<T>(1 - factors.beta2),
          static_cast<T>(factors.eps),        static_cast<T>(factors.step_size),
          static_cast<T>(factors.root_scale), static_cast<T>(factors.decay_before),
          static_cast<T>(factors.decay_after)};
}

template <typename T>
NORMTUNE_INLINE void adamw_element(T& parameter, T gradient, T gradient_scale, T& first_moment,
                                   T& second_moment, const AdamWScalars<T>& factors) {
  const T g = gradient_scale * gradient;
  const T m = factors.beta1 * first_moment + factors.rest1 * g;
  const T v = factors.beta2 * second_moment + factors.rest2 * g * g;
  first_moment = m;
  second_moment = v;
  const T moved = factors.decay_before * parameter -
                  factors.step_size * m / (square_root(v) * factors.root_scale + factors.eps);
  parameter = factors.decay_after * moved;
}

template <typename T>
NORMTUNE_INLINE void sgd_element(T& parameter, T gradient, T lr, T weight_decay, T gradient_scale) {
  parameter -= lr * (gradient_scale * gradient + weight_decay * parameter);
}
