#pragma once

#include "tensor/tensor.h"

// Activations in bfloat16 on the CPU: a kernel calls itself with copies in float32, and rounds its result.

namespace normtune {

/// A copy in float32; contiguous, as a matrix that is part of a wider one is not.
Tensor widened(const MatrixRef& matrix);

/// The same under the tensor's own shape.
inline Tensor widened(const Tensor& tensor) {
  return widened(MatrixRef(tensor)).reshape(tensor.shape());
}

/// target = values, rounded to target's dtype.
void round_into(const Tensor& values, const MatrixRef& target);

}  // namespace normtune
