// A part of other files, included inside their namespace: by tensor/cpu/optimizer.cpp and by the CUDA
// kernels. NORMTUNE_INLINE says how its functions are declared there.

template <typename T>
NORMTUNE_INLINE bool is_finite(T value) {
  return value - value == 0;
}

/// Backend::clipping_factor, from the sum of the squared norms.
NORMTUNE_INLINE double clipping_factor(double squared_norm, bool losses_are_finite, double max_norm) {
  const double norm = ::sqrt(squared_norm);
  if (!is_finite(norm) || !losses_are_finite) return NAN;
  const double factor = max_norm / (norm + 1e-6);
  return max_norm > 0 && factor < 1 ? factor : 1;
}
