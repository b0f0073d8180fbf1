// Part of loops.cpp: the activation functions, each with its derivative.

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

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, the approximation in the same paper.
struct GeluTanh {
  template <typename T>
  NORMTUNE_INLINE T inner_tanh(T x) {
    return hyperbolic_tangent(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x));
  }
  template <typename T>
  NORMTUNE_INLINE T value(T x) {
    return T(0.5) * x * (T(1) + inner_tanh(x));
  }
  template <typename T>
  NORMTUNE_INLINE T derivative(T x) {
    // Beyond +-10 the tangent is +-1; x^2 must not overflow there, because it meets a factor 0.
    x = x > T(10) ? T(10) : x;
    x = x < T(-10) ? T(-10) : x;
    const T tangent = inner_tanh(x);
    const T inner_derivative = T(0.79788456080286535588) * (T(1) + T(3 * 0.044715) * x * x);
    return T(0.5) * (T(1) + tangent) + T(0.5) * x * (T(1) - tangent * tangent) * inner_derivative;
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
    return x / (T(1) + exponential(-x));
  }
  template <typename T>
  NORMTUNE_INLINE T derivative(T x) {
    const T sigmoid = T(1) / (T(1) + exponential(-x));
    return sigmoid * (T(1) + x * (T(1) - sigmoid));
  }
};

template <typename Function, typename T>
void activation_forward(const T* input, T* output, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) output[i] = Function::value(input[i]);
}

template <typename Function, typename T>
void activation_backward(const T* input, const T* grad_output, T* grad_input, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) grad_input[i] = grad_output[i] * Function::derivative(input[i]);
}
