#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Squared error, loss = scale * sum of (predictions - targets)^2.
///
/// predictions  [n] or [n, 1]
/// targets      [n], same dtype and device
/// scale        usually 1 / n
/// return       []
///
/// Saves the gradient of the predictions, made in the forward pass.
/// Throws std::invalid_argument if shapes, dtypes or devices do not agree.
Variable mse_loss(const Variable& predictions, const Tensor& targets, double scale);

}  // namespace normtune
