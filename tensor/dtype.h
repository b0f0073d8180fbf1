#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace normtune {

enum class DType { float32, float64, int32, int64 };

/// Size of one element in bytes.
constexpr size_t size_of(DType dtype) {
  return dtype == DType::float32 || dtype == DType::int32 ? 4 : 8;
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float64;
}

constexpr std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::float64:
      return "float64";
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
constexpr DType dtype_of<int32_t>() {
  return DType::int32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::int64;
}

/// Calls `function.template operator()<T>()` with the C++ type of a floating-point dtype.
template <typename Function>
decltype(auto) dispatch_floating(DType dtype, Function&& function) {
  if (dtype == DType::float32) return function.template operator()<float>();
  if (dtype == DType::float64) return function.template operator()<double>();
  throw std::invalid_argument("expected a floating-point dtype");
}

}  // namespace normtune
