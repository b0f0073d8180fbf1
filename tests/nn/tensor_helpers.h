#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "nn/safetensors.h"

namespace normtune::testing {

/// Same shape, dtype and bits.
inline bool equal_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.nbytes() == 0 || std::memcmp(a.raw_data(), b.raw_data(), a.nbytes()) == 0);
}

/// Same names in the same order, each with equal bits.
inline bool equal_bits(const std::vector<NamedTensor>& a, const std::vector<NamedTensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].name != b[i].name || !equal_bits(a[i].tensor, b[i].tensor)) return false;
  }
  return true;
}

/// A float32 tensor of distinct values: first, first + 1, ...
inline Tensor counting(const Shape& shape, float first = 0) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = first + static_cast<float>(i);
  return Tensor::from_values(shape, values);
}

/// A safetensors file from its parts.
inline std::string safetensors_bytes(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + std::string(header) +
         std::string(data);
}

}  // namespace normtune::testing
