#pragma once

#include "tensor/backend.h"

// Tensors as the pointers that kernels take.

namespace normtune::cuda {

/// Kernels here know float32, and bfloat16 for activations. Throws Error(usage) for float64.
inline void require_float32(DType dtype) {
  if (dtype == DType::float64) {
    fail(ErrorKind::usage,
         "float64 is computed on the cpu only; use --device cpu, or --precision fp32 on a CUDA device");
  }
}

inline float* floats(const Tensor& tensor) {
  require_float32(tensor.dtype());
  return tensor.data<float>();
}

/// Elements of activations: T is float or bfloat16. Null for null.
template <typename T>
T* elements(const Tensor* tensor) {
  return tensor == nullptr ? nullptr : tensor->data<T>();
}

/// Calls body(T{}) with the C++ type of activations.
template <typename Body>
void with_activation_type(DType dtype, const Body& body) {
  require_float32(dtype);
  if (dtype == DType::bfloat16) return body(bfloat16{});
  body(float{});
}

/// Null for null.
inline float* floats(const Tensor* tensor) {
  return tensor == nullptr ? nullptr : floats(*tensor);
}

/// Of a list of elements; null for null.
inline const int64_t* int64s(const Tensor* indices) {
  return indices == nullptr ? nullptr : indices->data<int64_t>();
}

/// The number of listed elements, or of all without a list.
inline int64_t count_of(const Tensor& tensor, const Tensor* indices) {
  return indices == nullptr ? tensor.numel() : indices->numel();
}

inline float* floats(const MatrixRef& matrix) {
  require_float32(matrix.dtype);
  return matrix.as<float>();
}

}  // namespace normtune::cuda
