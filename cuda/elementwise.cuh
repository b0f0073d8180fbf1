#pragma once

#include "cuda/arguments.h"
#include "cuda/formulas.cuh"
#include "cuda/grid.h"
#include "cuda/vectors.cuh"

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

template <typename Function, typename... Fours>
__device__ inline Four map_four(const Function& function, const Fours&... inputs) {
  Four results;
  for (int i = 0; i < 4; ++i) results[i] = function(inputs[i]...);
  return results;
}

/// A thread has four elements.
template <typename Function, typename Output, typename... Inputs>
__global__ void map_kernel(Function function, int64_t count, FourAccess access, Output* output,
                           const Inputs*... inputs) {
  const int64_t at = 4 * global_thread();
  if (at >= count) return;
  const int64_t left = count - at;
  access.store(output + at, map_four(function, access.load(inputs + at, left)...), left);
}

/// output[i] = function(inputs[i]...) for `count` elements; output may be one of the inputs.
template <typename Launcher, typename Function, typename Output, typename... Inputs>
void map(const Launcher& launch, const Function& function, int64_t count, Output* output,
         const Inputs*... inputs) {
  launch(map_kernel<Function, Output, Inputs...>, one_thread_for_each(divide_up(count, 4)), function, count,
         four_access(0, output, inputs...), output, inputs...);
}

struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};

struct ProductOfTwo {
  __device__ float operator()(float a, float b) const { return a * b; }
};

struct Scaled {
  float factor;
  __device__ float operator()(float value) const { return factor * value; }
};

struct ScaledBy {
  const float* factor;
  __device__ float operator()(float value) const { return *factor * value; }
};

struct Unchanged {
  __device__ float operator()(float value) const { return value; }
};

template <typename Function>
struct ValueOf {
  __device__ float operator()(float input) const { return Function::value(input); }
};

template <typename Function>
struct DerivativeOf {
  __device__ float operator()(float input) const { return Function::derivative(input); }
};

template <typename Function>
struct GradientOf {
  __device__ float operator()(float input, float grad_output) const {
    return grad_output * Function::derivative(input);
  }
};

template <typename Launcher>
void add(const Launcher& launch, const Tensor& a, const Tensor& b, const Tensor& output) {
  with_activation_type(output.dtype(), [&]<typename T>(T) {
    map(launch, Sum{}, output.numel(), output.data<T>(), a.data<T>(), b.data<T>());
  });
}

template <typename Launcher>
void multiply(const Launcher& launch, const Tensor& a, const Tensor& b, const Tensor& output) {
  map(launch, ProductOfTwo{}, output.numel(), floats(output), floats(a), floats(b));
}

template <typename Launcher>
void scale(const Launcher& launch, const Tensor& input, double factor, const Tensor& output) {
  with_activation_type(output.dtype(), [&]<typename T>(T) {
    map(launch, Scaled{static_cast<float>(factor)}, output.numel(), output.data<T>(), input.data<T>());
  });
}

template <typename Launcher>
void scale_by(const Launcher& launch, const Tensor& input, const Tensor& factor, const Tensor& output) {
  map(launch, ScaledBy{floats(factor)}, output.numel(), floats(output), floats(input));
}

/// Rows that lie next to each other are read and written in fours, others element by element.
template <typename From, typename To, typename Launcher>
void convert_elements(const Launcher& launch, const MatrixRef& input, const MatrixRef& output) {
  const From* from = input.as<From>();
  To* to = output.as<To>();
  const int64_t columns = input.cols, from_ld = input.ld, ld = output.ld;
  if (from_ld == columns && ld == columns) return map(launch, Unchanged{}, input.rows * columns, to, from);
  for_each_matrix_element(launch, input.rows, columns, [=] __device__(int64_t i, int64_t j) {
    to[i * ld + j] = rounded<To>(static_cast<float>(from[i * from_ld + j]));
  });
}

template <typename Launcher>
void convert(const Launcher& launch, const MatrixRef& input, const MatrixRef& output) {
  with_activation_type(input.dtype, [&]<typename From>(From) {
    with_activation_type(output.dtype,
                         [&]<typename To>(To) { convert_elements<From, To>(launch, input, output); });
  });
}

template <typename T, typename Launcher>
void add_scaled_as(const Launcher& launch, const Tensor& input, float factor, const MatrixRef& output) {
  const T* from = input.data<T>();
  T* to = output.as<T>();
  const int64_t columns = output.cols, ld = output.ld;
  for_each_matrix_element(launch, output.rows, columns, [=] __device__(int64_t i, int64_t j) {
    const auto added = factor * static_cast<float>(from[i * columns + j]);
    to[i * ld + j] = rounded<T>(static_cast<float>(to[i * ld + j]) + added);
  });
}

template <typename Launcher>
void add_scaled(const Launcher& launch, const Tensor& input, double factor, const MatrixRef& output) {
  with_activation_type(output.dtype, [&]<typename T>(T) {
    add_scaled_as<T>(launch, input, static_cast<float>(factor), output);
  });
}

template <typename T, typename Launcher>
void add_bias_as(const Launcher& launch, const MatrixRef& input, const MatrixRef& bias,
                 const MatrixRef& output) {
  const T* from = input.as<T>();
  const float* added = floats(bias);
  T* to = output.as<T>();
  const int64_t input_ld = input.ld, output_ld = output.ld;
  for_each_matrix_element(launch, output.rows, output.cols, [=] __device__(int64_t i, int64_t j) {
    to[i * output_ld + j] = rounded<T>(static_cast<float>(from[i * input_ld + j]) + added[j]);
  });
}

template <typename Launcher>
void add_bias(const Launcher& launch, const MatrixRef& input, const MatrixRef& bias,
              const MatrixRef& output) {
  with_activation_type(output.dtype, [&]<typename T>(T) { add_bias_as<T>(launch, input, bias, output); });
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

template <typename Launcher>
void activation_forward(const Launcher& launch, Activation activation, const Tensor& input,
                        const Tensor& output) {
  with_activation_type(output.dtype(), [&]<typename T>(T) {
    with_activation(activation, [&]<typename Function>(Function) {
      map(launch, ValueOf<Function>{}, output.numel(), output.data<T>(), input.data<T>());
    });
  });
}

/// Calls body with the derivatives' elements: bytes, or floats.
template <typename Body>
void with_derivatives(const Tensor& derivative, const Body& body) {
  if (derivative.dtype() == DType::uint8) {
    return body(reinterpret_cast<DerivativeByte*>(derivative.data<uint8_t>()));
  }
  body(floats(derivative));
}

/// A thread has four elements.
template <typename Function, typename T, typename Derivative>
__global__ void activation_with_derivative_kernel(int64_t count, FourAccess access, const T* input, T* output,
                                                  Derivative* derivative) {
  const int64_t at = 4 * global_thread();
  if (at >= count) return;
  const int64_t left = count - at;
  const Four values = access.load(input + at, left);
  access.store(output + at, map_four(ValueOf<Function>{}, values), left);
  access.store(derivative + at, map_four(DerivativeOf<Function>{}, values), left);
}

template <typename Launcher>
void activation_with_derivative(const Launcher& launch, Activation activation, const Tensor& input,
                                const Tensor& output, const Tensor& derivative) {
  with_activation_type(output.dtype(), [&]<typename T>(T) {
    with_activation(activation, [&]<typename Function>(Function) {
      with_derivatives(derivative, [&]<typename Derivative>(Derivative* derivatives) {
        const T* from = input.data<T>();
        T* to = output.data<T>();
        const int64_t count = output.numel();
        launch(activation_with_derivative_kernel<Function, T, Derivative>,
               one_thread_for_each(divide_up(count, 4)), count, four_access(0, from, to, derivatives), from,
               to, derivatives);
      });
    });
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
