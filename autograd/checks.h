#pragma once

#include <string_view>
#include <vector>

#include "autograd/variable.h"

/// The checks that ops share. Each throws std::invalid_argument with a message that names the op, the
/// operand, and both the expected and the found value.
namespace normtune::detail {

/// All operands are defined, of one floating-point dtype and on one device.
void check_operands(std::string_view op, const std::vector<Variable>& operands);
/// The same with parameters as further operands, which are float32 beside activations in bfloat16.
void check_operands(std::string_view op, const std::vector<Variable>& activations,
                    const std::vector<Variable>& parameters);

void check_shape(std::string_view op, std::string_view operand, const Shape& found, const Shape& expected);

void check_rank(std::string_view op, std::string_view operand, const Shape& found, int expected);

/// `index` holds `count` int32 values in [lowest, end) on `device`.
void check_index(std::string_view op, std::string_view operand, const Tensor& index, Device device,
                 int64_t count, int64_t lowest, int64_t end);

/// The mask is inactive, or describes `num_rows` rows and has a probability below 1.
void check_dropout_mask(std::string_view op, const DropoutMask& mask, int64_t num_rows, Device device);

/// `cu_seqlens` is [batch + 1] int32, begins with 0, never falls and ends with `total`.
void check_cu_seqlens(std::string_view op, std::string_view operand, const Tensor& cu_seqlens, Device device,
                      int64_t total);

}  // namespace normtune::detail
