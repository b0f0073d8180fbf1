#include "nn/element_type.h"

#include <array>
#include <bit>
#include <cstring>

namespace normtune {
namespace {

struct ElementTypeInfo {
  ElementType type;
  std::string_view name;
  size_t size;  // bytes
};

constexpr std::array<ElementTypeInfo, 13> element_types{{
    {ElementType::BOOL, "BOOL", 1},
    {ElementType::U8, "U8", 1},
    {ElementType::I8, "I8", 1},
    {ElementType::I16, "I16", 2},
    {ElementType::U16, "U16", 2},
    {ElementType::I32, "I32", 4},
    {ElementType::U32, "U32", 4},
    {ElementType::I64, "I64", 8},
    {ElementType::U64, "U64", 8},
    {ElementType::F16, "F16", 2},
    {ElementType::BF16, "BF16", 2},
    {ElementType::F32, "F32", 4},
    {ElementType::F64, "F64", 8},
}};
static_assert([] {
  for (size_t i = 0; i < element_types.size(); ++i) {
    if (element_types[i].type != static_cast<ElementType>(i)) return false;
  }
  return true;
}());

const ElementTypeInfo& info(ElementType type) {
  return element_types[static_cast<size_t>(type)];
}

/// IEEE 754 binary16: 1 sign bit, 5 exponent bits (bias 15), 10 mantissa bits.
float half_to_float(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 31u;
  const uint32_t mantissa = half & 1023u;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in float32
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(static_cast<float>(mantissa) * 0x1p-24f));
  }
  const uint32_t wide_exponent = exponent == 31 ? 255 : exponent + (127 - 15);  // 31: infinity, NaN
  return std::bit_cast<float>(sign | wide_exponent << 23 | mantissa << 13);
}

/// bfloat16 is the upper half of a float32.
float bfloat16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

template <typename Source, typename Target, typename Convert>
void convert_elements(std::span<const std::byte> bytes, Tensor& tensor, Convert convert) {
  Target* target = tensor.data<Target>();
  const size_t count = bytes.size() / sizeof(Source);
  for (size_t i = 0; i < count; ++i) {
    Source source;
    std::memcpy(&source, bytes.data() + i * sizeof(Source), sizeof(Source));  // may be unaligned
    target[i] = convert(source);
  }
}

template <typename Source>
void widen_to_int32(std::span<const std::byte> bytes, Tensor& tensor) {
  convert_elements<Source, int32_t>(bytes, tensor, [](Source value) { return static_cast<int32_t>(value); });
}

}  // namespace

std::optional<ElementType> element_type(std::string_view name) {
  for (const ElementTypeInfo& candidate : element_types) {
    if (candidate.name == name) return candidate.type;
  }
  return std::nullopt;
}

std::string_view to_string(ElementType type) {
  return info(type).name;
}

size_t size_of(ElementType type) {
  return info(type).size;
}

std::optional<int64_t> byte_count(std::span<const int64_t> sizes, ElementType type) {
  int64_t product = 1;
  for (int64_t size : sizes) {
    if (size < 0 || __builtin_mul_overflow(product, size, &product)) return std::nullopt;
  }
  if (__builtin_mul_overflow(product, static_cast<int64_t>(size_of(type)), &product)) return std::nullopt;
  return product;
}

std::optional<DType> dtype_for(ElementType type) {
  switch (type) {
    case ElementType::F16:
    case ElementType::BF16:
    case ElementType::F32:
      return DType::float32;
    case ElementType::F64:
      return DType::float64;
    case ElementType::I64:
      return DType::int64;
    case ElementType::BOOL:
    case ElementType::U8:
    case ElementType::I8:
    case ElementType::I16:
    case ElementType::U16:
    case ElementType::I32:
      return DType::int32;
    case ElementType::U32:
    case ElementType::U64:
      return std::nullopt;
  }
  return std::nullopt;
}

Tensor tensor_from_bytes(ElementType type, const Shape& shape, std::span<const std::byte> bytes) {
  const auto dtype = dtype_for(type);
  check(dtype.has_value(), "tensor_from_bytes: no dtype holds {}", to_string(type));
  check(static_cast<size_t>(shape.numel()) * size_of(type) == bytes.size(),
        "tensor_from_bytes: expected {} elements of {}, found {} bytes", shape.numel(), to_string(type),
        bytes.size());
  Tensor tensor = Tensor::empty(shape, *dtype);
  if (bytes.empty()) return tensor;
  switch (type) {
    case ElementType::F16:
      convert_elements<uint16_t, float>(bytes, tensor, half_to_float);
      break;
    case ElementType::BF16:
      convert_elements<uint16_t, float>(bytes, tensor, bfloat16_to_float);
      break;
    case ElementType::BOOL:
    case ElementType::U8:
      widen_to_int32<uint8_t>(bytes, tensor);
      break;
    case ElementType::I8:
      widen_to_int32<int8_t>(bytes, tensor);
      break;
    case ElementType::I16:
      widen_to_int32<int16_t>(bytes, tensor);
      break;
    case ElementType::U16:
      widen_to_int32<uint16_t>(bytes, tensor);
      break;
    default:  // the tensor holds the file's own type
      std::memcpy(tensor.raw_data(), bytes.data(), bytes.size());
  }
  return tensor;
}

}  // namespace normtune
