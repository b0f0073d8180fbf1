#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "tensor/backend.h"

namespace normtune {

/// Copies on the host of tensors of one device, as they are when the device has done all that it has been
/// asked for so far. They are made together, and nobody waits before they are asked for.
class CopiesOnHost {
 public:
  explicit CopiesOnHost(const std::vector<Tensor>& tensors);

  /// Whether wait() would not wait.
  bool are_there() const { return copy_ == nullptr || copy_->is_there(); }
  /// In the order of the tensors.
  std::vector<Tensor> wait() const;

 private:
  std::vector<std::pair<Shape, DType>> forms_;
  std::unique_ptr<LateCopy> copy_;  // of the tensors end to end; null if there are none
};

}  // namespace normtune
