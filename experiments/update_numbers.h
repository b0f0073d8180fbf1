#pragma once

#include <string_view>
#include <vector>

#include "nn/optimizer.h"

namespace normtune {

/// What an update finds on the way, on the device.
struct UpdateNumbers {
  Tensor losses;                        ///< [number of batches] the share of each in the update's loss
  Tensor squared_norms;                 ///< see Optimizer::squared_gradient_norms()
  std::vector<std::string_view> names;  ///< of the tensors with these gradients
};

/// Behind the backward passes of an update, whose gradients the optimiser's tensors have: enqueues the norms,
/// clipping as PyTorch's clip_grad_norm_ does it (0: none), and Optimizer::move(). The gradients are gone
/// then. Can be captured work.
UpdateNumbers clip_and_move(Optimizer& optimizer, const Tensor& losses, double max_grad_norm);

}  // namespace normtune
