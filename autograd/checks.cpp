#include "autograd/checks.h"

namespace normtune::detail {

namespace {

void check_plain_tensor(std::string_view op, std::string_view operand, const Tensor& tensor, DType dtype,
                        Device device) {
  check(tensor.defined(), "{}: {} is undefined", op, operand);
  check(tensor.dtype() == dtype, "{}: expected {} of dtype {}, found {}", op, operand, to_string(dtype),
        to_string(tensor.dtype()));
  check(tensor.device() == device, "{}: expected {} on {}, found {}", op, operand, to_string(device),
        to_string(tensor.device()));
}

/// Values are looked at where that costs no synchronization; on a GPU whoever builds the batch answers for
/// them.
bool values_are_at_hand(const Tensor& tensor) {
  return tensor.device().type == DeviceType::cpu;
}

}  // namespace

void check_operands(std::string_view op, const std::vector<Variable>& operands) {
  check_operands(op, operands, {});
}

void check_operands(std::string_view op, const std::vector<Variable>& activations,
                    const std::vector<Variable>& parameters) {
  for (size_t i = 0; i < activations.size() + parameters.size(); ++i) {
    const bool is_parameter = i >= activations.size();
    const Variable& operand = is_parameter ? parameters[i - activations.size()] : activations[i];
    check(operand.defined(), "{}: operand {} is undefined", op, i);
    check(is_floating(operand.dtype()), "{}: expected a floating-point operand {}, found {}", op, i,
          to_string(operand.dtype()));
    const DType first = activations[0].dtype();
    check(operand.dtype() == (is_parameter ? parameter_dtype(first) : first),
          "{}: expected operands of one dtype, found {} for operand 0 and {} for operand {}", op,
          to_string(first), to_string(operand.dtype()), i);
    // Of a weight that is kept rounded the values may be elsewhere.
    const Tensor& needed = operand.rounded_copy().defined() ? operand.rounded_copy() : operand.tensor();
    check(needed.device() == activations[0].device(),
          "{}: expected operands on one device, found {} for operand 0 and {} for operand {}", op,
          to_string(activations[0].device()), to_string(needed.device()), i);
  }
}

void check_shape(std::string_view op, std::string_view operand, const Shape& found, const Shape& expected) {
  check(found == expected, "{}: expected {} of shape {}, found {}", op, operand, expected, found);
}

void check_rank(std::string_view op, std::string_view operand, const Shape& found, int expected) {
  check(found.rank() == expected, "{}: expected {} with {} dimensions, found shape {}", op, operand, expected,
        found);
}

void check_index(std::string_view op, std::string_view operand, const Tensor& index, Device device,
                 int64_t count, int64_t lowest, int64_t end) {
  check_plain_tensor(op, operand, index, DType::int32, device);
  check_shape(op, operand, index.shape(), {count});
  if (!values_are_at_hand(index)) return;
  const int32_t* values = index.data<int32_t>();
  for (int64_t i = 0; i < count; ++i) {
    check(values[i] >= lowest && values[i] < end, "{}: expected {} in [{}, {}), found {} at position {}", op,
          operand, lowest, end, values[i], i);
  }
}

void check_dropout_mask(std::string_view op, const DropoutMask& mask, int64_t num_rows, Device device) {
  if (!mask.active()) return;
  check(mask.probability < 1, "{}: expected a dropout probability in [0, 1), found {}", op, mask.probability);
  check_plain_tensor(op, "mask.example_ids", mask.example_ids, DType::int64, device);
  check_shape(op, "mask.example_ids", mask.example_ids.shape(), {num_rows});
  check_plain_tensor(op, "mask.positions", mask.positions, DType::int32, device);
  check_shape(op, "mask.positions", mask.positions.shape(), {num_rows});
}

void check_cu_seqlens(std::string_view op, std::string_view operand, const Tensor& cu_seqlens, Device device,
                      int64_t total) {
  check_plain_tensor(op, operand, cu_seqlens, DType::int32, device);
  check_rank(op, operand, cu_seqlens.shape(), 1);
  check(cu_seqlens.numel() >= 1, "{}: expected {} with at least one bound, found none", op, operand);
  if (!values_are_at_hand(cu_seqlens)) return;
  const int32_t* bounds = cu_seqlens.data<int32_t>();
  const int64_t batch = cu_seqlens.numel() - 1;
  check(bounds[0] == 0 && bounds[batch] == total, "{}: expected {} from 0 to {}, found {} to {}", op, operand,
        total, bounds[0], bounds[batch]);
  for (int64_t i = 0; i < batch; ++i) {
    check(bounds[i] <= bounds[i + 1], "{}: expected {} that never falls, found {} after {} at position {}",
          op, operand, bounds[i + 1], bounds[i], i + 1);
  }
}

}  // namespace normtune::detail
