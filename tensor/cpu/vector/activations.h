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
