#pragma once

#include "tensor/backend.h"
#include "tensor/cpu/vector/loops.h"

namespace normtune {

/// Hands out the rows of a DropoutMask to the inner loops.
class DropoutRows {
 public:
  explicit DropoutRows(const DropoutMask& mask) {
    if (!mask.active()) return;
    common_.key = mask.key;
    common_.threshold = dropout_threshold(mask.probability);
    common_.scale = 1 / (1 - mask.probability);
    example_ids_ = mask.example_ids.data<int64_t>();
    positions_ = mask.positions.data<int32_t>();
  }

  bool active() const { return example_ids_ != nullptr; }
  vector::DropoutRow row(int64_t row, int64_t head = 0) const {
    vector::DropoutRow mask = common_;
    mask.example_id = static_cast<uint32_t>(example_ids_[row]);
    mask.position = static_cast<uint32_t>(positions_[row]);
    mask.head = static_cast<uint32_t>(head);
    return mask;
  }

 private:
  vector::DropoutRow common_;
  const int64_t* example_ids_ = nullptr;
  const int32_t* positions_ = nullptr;
};

}  // namespace normtune
