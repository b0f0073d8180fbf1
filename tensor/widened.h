#pragma once

#include "tensor/backend.h"

// Activations in bfloat16 for kernels that know float32 alone: these are called with copies in float32, and
// their results are rounded.

namespace normtune {

/// A copy in float32 of a matrix on a device; contiguous, as a matrix that is part of a wider one is not.
Tensor widened(const MatrixRef& matrix, Device device = {});

/// The same under the tensor's own shape.
inline Tensor widened(const Tensor& tensor) {
  return widened(MatrixRef(tensor), tensor.device()).reshape(tensor.shape());
}

/// target = values, rounded to target's dtype.
void round_into(const Tensor& values, const MatrixRef& target);

/// Kernels of args' device, by way of float32.
void activation_backward_in_float32(const Backend::ActivationBackward& args);
void derivative_backward_in_float32(const Backend::DerivativeBackward& args);
void attention_forward_in_float32(const Backend::AttentionForward& args);
void attention_backward_in_float32(const Backend::AttentionBackward& args);

}  // namespace normtune
