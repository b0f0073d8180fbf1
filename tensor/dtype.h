#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "tensor/bfloat16.h"

namespace normtune {

enum class DType { float32, float64, bfloat16, uint8, int32, int64 };

/// Size of one element in bytes.
constexpr size_t size_of(DType dtype) {
  if (dtype == DType::uint8) return 1;
  if (dtype == DType::bfloat16) return 2;
  return dtype == DType::float32 || dtype == DType::int32 ? 4 : 8;
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float64 || dtype == DType::bfloat16;
}

/// The dtype of parameters and statistics beside activations of `dtype`: float32 beside bfloat16.
constexpr DType parameter_dtype(DType dtype) {
  return dtype == DType::bfloat16 ? DType::float32 : dtype;
}

constexpr std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::float64:
      return "float64";
    case DType::bfloat16:
      return "bfloat16";
    case DType::uint8:
      return "uint8";
    case DType::int32:
      return "int32";
    case DType::int64:
      return "int64";
  }
  return "unknown";
}

template <typename T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::float32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::float64;
}
template <>
constexpr DType dtype_of<bfloat16>() {
  return DType::bfloat16;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::uint8;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::int32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::int64;
}

/// Calls `function.template operator()<T>()` with the C++ type of a floating-point dtype that is computed
/// with: not of bfloat16.
template <typename Function>
decltype(auto) dispatch_floating(DType dtype, Function&& function) {
  if (dtype == DType::float32) return function.template operator()<float>();
  if (dtype == DType::float64) return function.template operator()<double>();
  throw std::invalid_argument("expected float32 or float64");
}

}  // namespace normtune
