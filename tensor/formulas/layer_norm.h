// A part of other files, included inside their namespace after formulas/math.h (which says how).
//
// Layer normalization of one row, but for the order of its sums (Backend::LayerNormForward says what it is).

/// Of the values from which the row's first one is subtracted: a common offset, however large, does no harm.
template <typename T>
struct RowStatistics {
  T first, mean, rstd;
};

/// What the mean is taken of. Sums are in double: a variance near 1e60 (values around 1e30) has no place in a
/// float.
template <typename T>
NORMTUNE_INLINE double from_first(T value, T first) {
  return static_cast<double>(value - first);
}

/// What the variance is the mean of.
template <typename T>
NORMTUNE_INLINE double squared_deviation(T value, T first, double mean) {
  const double deviation = from_first(value, first) - mean;
  return deviation * deviation;
}

template <typename T>
NORMTUNE_INLINE RowStatistics<T> row_statistics(T first, double mean, double variance, double eps) {
  return {first, static_cast<T>(mean), static_cast<T>(1 / square_root(variance + eps))};
}

template <typename T>
NORMTUNE_INLINE T normalize(T value, const RowStatistics<T>& row) {
  return ((value - row.first) - row.mean) * row.rstd;
}

/// The gradient of a value, from g = grad_output * weight and the means of g and g * normalized over its row.
template <typename T>
NORMTUNE_INLINE T normalize_backward(T g, T normalized, T rstd, T mean_g, T mean_g_normalized) {
  return rstd * (g - mean_g - normalized * mean_g_normalized);
}
