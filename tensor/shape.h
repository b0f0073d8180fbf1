#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "tensor/error.h"

namespace normtune {

/// The sizes of a tensor's dimensions, outermost first. Held in place: shapes are made at every op.
class Shape {
 public:
  static constexpr int max_rank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes)
      : Shape(std::span<const int64_t>(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
    check(rank_ <= max_rank, "shape: expected at most {} dimensions, found {}", max_rank, sizes.size());
    for (int i = 0; i < rank_; ++i) {
      check(sizes[i] >= 0, "shape: dimension {} is negative ({})", i, sizes[i]);
      sizes_[i] = sizes[i];
    }
  }

  int rank() const { return rank_; }
  /// Negative `dim` counts from the back.
  int64_t operator[](int dim) const { return sizes_[dim < 0 ? dim + rank_ : dim]; }
  int64_t back() const { return sizes_[rank_ - 1]; }
  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }
  int64_t numel() const {
    int64_t product = 1;
    for (int64_t size : *this) product *= size;
    return product;
  }
  bool operator==(const Shape& other) const {
    return std::span(begin(), end()).size() == std::span(other.begin(), other.end()).size() &&
           std::equal(begin(), end(), other.begin());
  }

 private:
  std::array<int64_t, max_rank> sizes_{};
  int rank_ = 0;
};

}  // namespace normtune
