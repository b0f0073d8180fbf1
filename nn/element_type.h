#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "tensor/tensor.h"

namespace normtune {

/// The element types of model files, by their names in safetensors. Little-endian, as everything we read.
enum class ElementType { BOOL, U8, I8, I16, U16, I32, U32, I64, U64, F16, BF16, F32, F64 };

/// Nothing for a name that is not in the list.
std::optional<ElementType> element_type(std::string_view name);
std::string_view to_string(ElementType type);
/// In bytes.
size_t size_of(ElementType type);

/// Product of `sizes` times the element size; nothing if it does not fit 63 bits or a size is negative.
std::optional<int64_t> byte_count(std::span<const int64_t> sizes, ElementType type);

/// The dtype in which a tensor of this type is held: F32, F16 and BF16 as float32; F64 as float64; I64 as
/// int64; I32 and everything narrower as int32. Nothing for U32 and U64.
std::optional<DType> dtype_for(ElementType type);

/// Copies elements from file bytes (any alignment) into a new tensor, converting to dtype_for(type).
/// `bytes` has byte_count(shape) bytes.
Tensor tensor_from_bytes(ElementType type, const Shape& shape, std::span<const std::byte> bytes);

}  // namespace normtune
