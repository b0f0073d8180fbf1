// A part of other files, included inside their namespace after formulas/math.h (which says how).
//
// The activation functions, each with its derivative, and how a derivative is kept in a byte.

struct Relu {
  template <typename T>
  NORMTUNE_INLINE T value(T x) {
    return x > T(0) ? x : x * T(0);  // x * 0: NaN stays NaN
  }
  template <typename T>
  NORMTUNE_INLINE T derivative(T x) {
    return x > T(0) ? T(1) : T(0);
  }
};

/// x Phi(x), the exact form (Hendrycks & Gimpel 2016, arXiv:1606.08415).
struct Gelu {
  template <typename T>
  NORMTUNE_INLINE T value(T x) {
    return x * normal(x).distribution;
  }
  template <typename T>
  NORMTUNE_INLINE T derivative(T x) {
    const Normal<T> at_x = normal(x);
    return at_x.distribution + x * at_x.density;
  }
};

/// sigmoid(x) and 1 - sigmoid(x), both to full relative precision: with e = exp(-|x|) <= 1 nothing overflows
/// and nothing cancels.
template <typename T>
struct Sigmoid {
  T value, complement;
};

template <typename T>
NORMTUNE_INLINE Sigmoid<T> sigmoid(T x) {
  const T e = exponential(x < T(0) ? x : -x);
  const T larger = T(1) / (T(1) + e), smaller = e * larger;
  return {x < T(0) ? smaller : larger, x < T(0) ? larger : smaller};
}

/// x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), the approximation in the same paper. Since
/// (1 + tanh(u)) / 2 = sigmoid(2 u), it is x sigmoid(2 u).
struct GeluTanh {
  template <typename T>
  NORMTUNE_INLINE Sigmoid<T> gate(T x) {
    return sigmoid(T(2 * 0.79788456080286535588) * (x + T(0.044715) * x * x * x));
  }
  template <typename T>
  NORMTUNE_INLINE T value(T x) {
    return x * gate(x).value;
  }
  template <typename T>
  NORMTUNE_INLINE T derivative(T x) {
    const Sigmoid<T> at_x = gate(x);
    // Beyond +-20 the slope of the gate is 0; x^2 must not overflow there.
    const T bounded = x > T(20) ? T(20) : x < T(-20) ? T(-20) : x;
    const T inner_derivative = T(2 * 0.79788456080286535588) * (T(1) + T(3 * 0.044715) * bounded * bounded);
    return at_x.value + bounded * at_x.value * at_x.complement * inner_derivative;
  }
};

struct Tanh {
  template <typename T>
  NORMTUNE_INLINE T value(T x) {
    return hyperbolic_tangent(x);
  }
  template <typename T>
  NORMTUNE_INLINE T derivative(T x) {
    const T tangent = hyperbolic_tangent(x);
    return T(1) - tangent * tangent;
  }
};

/// x sigmoid(x), also called swish.
struct Silu {
  template <typename T>
  NORMTUNE_INLINE T value(T x) {
    return x * sigmoid(x).value;
  }
  template <typename T>
  NORMTUNE_INLINE T derivative(T x) {
    const Sigmoid<T> at_x = sigmoid(x);
    return at_x.value * (T(1) + x * at_x.complement);
  }
};

/// The derivatives above lie in [-0.13, 1.13], so that a byte can hold one in steps of 1 / 200, from -27 /
/// 200 on: 0 and 1, the slopes far from 0, exactly, others with an error of at most 0.0025; rounding to
/// bfloat16 changes a slope near 1 as much, a small one less (Novikov et al. 2022, arXiv:2202.00441, train
/// with 3 or 4 bits). NaN becomes the smallest slope: a loss that depends on it is NaN as well.
template <typename T>
NORMTUNE_INLINE uint8_t derivative_byte(T derivative) {
  const T steps = derivative * T(200) + T(27.5);  // truncated below, which rounds
  const T not_below = steps > T(0) ? steps : T(0);
  return static_cast<uint8_t>(static_cast<int32_t>(not_below < T(255) ? not_below : T(255)));
}

template <typename T>
NORMTUNE_INLINE T derivative_of_byte(uint8_t byte) {
  return static_cast<T>(static_cast<int32_t>(byte) - 27) * T(0.005);
}
