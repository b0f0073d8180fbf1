// Part of loops.cpp: the activation functions of formulas/activations.h on whole arrays.

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

/// Both: what a function and its derivative have in common is computed once.
template <typename Function, typename T>
void activation_both(const T* input, const T* grad_output, T* output, T* grad_input, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T x = input[i], dy = grad_output[i];  // read before anything is written
    output[i] = Function::value(x);
    grad_input[i] = dy * Function::derivative(x);
  }
}

/// The function, and its derivative for later.
template <typename Function, typename T>
void activation_with_derivative(const T* input, T* output, T* derivative, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T x = input[i];  // read before anything is written
    output[i] = Function::value(x);
    derivative[i] = Function::derivative(x);
  }
}

template <typename Function, typename T>
void activation_with_derivative_byte(const T* input, T* output, uint8_t* derivative, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T x = input[i];
    output[i] = Function::value(x);
    derivative[i] = derivative_byte(Function::derivative(x));
  }
}

template <typename T>
void multiply_by_byte(const T* grad_output, const uint8_t* derivative, T* grad_input, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) grad_input[i] = grad_output[i] * derivative_of_byte<T>(derivative[i]);
}
