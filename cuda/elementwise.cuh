#pragma once

#include "cuda/arguments.h"
#include "cuda/block.cuh"
#include "cuda/formulas.cuh"
#include "cuda/grid.h"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

template <typename Function>
__global__ void element_kernel(int64_t count, Function function) {
  const int64_t i = global_thread();
  if (i < count) function(i);
}

/// Calls function(i) for each i in [0, count), each in a thread of its own.
template <typename Launcher, typename Function>
void for_each_element(const Launcher& launch, int64_t count, const Function& function) {
  launch(element_kernel<Function>, one_thread_for_each(count), count, function);
}

/// Calls function(row, column) for each element of a matrix, each in a thread of its own.
template <typename Launcher, typename Function>
void for_each_matrix_element(const Launcher& launch, int64_t rows, int64_t columns,
                             const Function& function) {
  for_each_element(launch, rows * columns, [=] __device__(int64_t i) { function(i / columns, i % columns); });
}

template <typename Launcher>
void add(const Launcher& launch, const Tensor& a, const Tensor& b, const Tensor& output) {
  const float *first = floats(a), *second = floats(b);
  float* sum = floats(output);
  for_each_element(launch, output.numel(), [=] __device__(int64_t i) { sum[i] = first[i] + second[i]; });
}

template <typename Launcher>
void multiply(const Launcher& launch, const Tensor& a, const Tensor& b, const Tensor& output) {
  const float *first = floats(a), *second = floats(b);
  float* product = floats(output);
  for_each_element(launch, output.numel(), [=] __device__(int64_t i) { product[i] = first[i] * second[i]; });
}

template <typename Launcher>
void scale(const Launcher& launch, const Tensor& input, double factor, const Tensor& output) {
  const float* from = floats(input);
  float* to = floats(output);
  const auto scalar = static_cast<float>(factor);
  for_each_element(launch, output.numel(), [=] __device__(int64_t i) { to[i] = scalar * from[i]; });
}

template <typename Launcher>
void add_scaled(const Launcher& launch, const Tensor& input, double factor, const MatrixRef& output) {
  const float* from = floats(input);
  float* to = floats(output);
  const int64_t columns = output.cols, ld = output.ld;
  const auto scalar = static_cast<float>(factor);
  for_each_matrix_element(launch, output.rows, columns, [=] __device__(int64_t i, int64_t j) {
    to[i * ld + j] += scalar * from[i * columns + j];
  });
}

template <typename Launcher>
void add_bias(const Launcher& launch, const MatrixRef& input, const MatrixRef& bias,
              const MatrixRef& output) {
  const float *from = floats(input), *added = floats(bias);
  float* to = floats(output);
  const int64_t input_ld = input.ld, output_ld = output.ld;
  for_each_matrix_element(launch, output.rows, output.cols, [=] __device__(int64_t i, int64_t j) {
    to[i * output_ld + j] = from[i * input_ld + j] + added[j];
  });
}

/// Calls body with an object of the activation's type, which has value() and derivative().
template <typename Body>
void with_activation(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::relu:
      return body(Relu{});
    case Activation::gelu:
      return body(Gelu{});
    case Activation::gelu_tanh:
      return body(GeluTanh{});
    case Activation::tanh:
      return body(Tanh{});
    case Activation::silu:
      return body(Silu{});
  }
}

template <typename Function>
__global__ void activation_forward_kernel(const float* input, float* output, int64_t count) {
  const int64_t i = global_thread();
  if (i < count) output[i] = Function::value(input[i]);
}

template <typename Function>
__global__ void activation_backward_kernel(const float* input, const float* grad_output, float* grad_input,
                                           int64_t count) {
  const int64_t i = global_thread();
  if (i < count) grad_input[i] = grad_output[i] * Function::derivative(input[i]);
}

template <typename Launcher>
void activation_forward(const Launcher& launch, Activation activation, const Tensor& input,
                        const Tensor& output) {
  const int64_t count = output.numel();
  with_activation(activation, [&]<typename Function>(Function) {
    launch(activation_forward_kernel<Function>, one_thread_for_each(count), floats(input), floats(output),
           count);
  });
}

template <typename Launcher>
void activation_backward(const Launcher& launch, Activation activation, const Tensor& input,
                         const Tensor& grad_output, const Tensor& grad_input) {
  const int64_t count = grad_input.numel();
  with_activation(activation, [&]<typename Function>(Function) {
    launch(activation_backward_kernel<Function>, one_thread_for_each(count), floats(input),
           floats(grad_output), floats(grad_input), count);
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
