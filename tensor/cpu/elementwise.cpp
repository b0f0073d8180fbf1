#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/dropout_rows.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"
#include "tensor/widened.h"

namespace normtune {

static_assert(static_cast<int>(Activation::silu) + 1 == vector::num_activations,
              "every activation has its inner loop");

void CpuBackend::add(const Tensor& a, const Tensor& b, const Tensor& output) {
  if (output.dtype() == DType::bfloat16) {
    const Tensor sum = widened(a);
    add(sum, widened(b), sum);
    return round_into(sum, output);
  }
  dispatch_floating(output.dtype(), [&]<typename T>() {
    const T *first = a.data<T>(), *second = b.data<T>();
    T* sum = output.data<T>();
    const auto& loops = vector::loops<T>();
    parallel_pieces(output.numel(), elements_per_piece, [&](int64_t begin, int64_t end) {
      loops.add(first + begin, second + begin, sum + begin, end - begin);
    });
  });
}

void CpuBackend::multiply(const Tensor& a, const Tensor& b, const Tensor& output) {
  dispatch_floating(output.dtype(), [&]<typename T>() {
    const T *first = a.data<T>(), *second = b.data<T>();
    T* product = output.data<T>();
    const auto& loops = vector::loops<T>();
    parallel_pieces(output.numel(), elements_per_piece, [&](int64_t begin, int64_t end) {
      loops.multiply(first + begin, second + begin, product + begin, end - begin);
    });
  });
}

void CpuBackend::scale(const Tensor& input, double factor, const Tensor& output) {
  if (output.dtype() == DType::bfloat16) {
    const Tensor scaled = widened(input);
    scale(scaled, factor, scaled);
    return round_into(scaled, output);
  }
  dispatch_floating(output.dtype(), [&]<typename T>() {
    const T* from = input.data<T>();
    T* to = output.data<T>();
    const auto& loops = vector::loops<T>();
    parallel_pieces(output.numel(), elements_per_piece, [&](int64_t begin, int64_t end) {
      loops.scale(from + begin, static_cast<T>(factor), to + begin, end - begin);
    });
  });
}

void CpuBackend::scale_by(const Tensor& input, const Tensor& factor, const Tensor& output) {
  scale(input, factor.item(), output);
}

void CpuBackend::add_scaled(const Tensor& input, double factor, const MatrixRef& output) {
  if (output.dtype == DType::bfloat16) {
    const Tensor sum = widened(output);
    add_scaled(widened(input), factor, sum);
    return round_into(sum, output);
  }
  dispatch_floating(output.dtype, [&]<typename T>() {
    const T* from = input.data<T>();
    T* to = output.as<T>();
    const auto& loops = vector::loops<T>();
    if (output.ld == output.cols) {  // one piece of memory, however the rows are cut
      parallel_pieces(output.rows * output.cols, elements_per_piece, [&](int64_t begin, int64_t end) {
        loops.add_scaled(from + begin, static_cast<T>(factor), to + begin, end - begin);
      });
      return;
    }
    parallel_rows(output.rows, output.cols, [&](int64_t row) {
      loops.add_scaled(from + row * output.cols, static_cast<T>(factor), to + row * output.ld, output.cols);
    });
  });
}

void CpuBackend::add_bias(const MatrixRef& input, const MatrixRef& bias, const MatrixRef& output) {
  if (output.dtype == DType::bfloat16) {
    const Tensor sum = widened(input);
    add_bias(sum, bias, sum);
    return round_into(sum, output);
  }
  dispatch_floating(output.dtype, [&]<typename T>() {
    const T *from = input.as<T>(), *added = bias.as<T>();
    T* to = output.as<T>();
    const auto& loops = vector::loops<T>();
    parallel_rows(output.rows, output.cols, [&](int64_t row) {
      loops.add(from + row * input.ld, added, to + row * output.ld, output.cols);
    });
  });
}

void CpuBackend::activation_forward(Activation activation, const Tensor& input, const Tensor& output) {
  if (output.dtype() == DType::bfloat16) {
    const Tensor values = widened(input);
    activation_forward(activation, values, values);
    return round_into(values, output);
  }
  dispatch_floating(output.dtype(), [&]<typename T>() {
    const T* from = input.data<T>();
    T* to = output.data<T>();
    const auto function = vector::loops<T>().activation_forward[static_cast<int>(activation)];
    parallel_pieces(output.numel(), elements_per_piece,
                    [&](int64_t begin, int64_t end) { function(from + begin, to + begin, end - begin); });
  });
}

void CpuBackend::activation_backward(const ActivationBackward& args) {
  if (args.grad_input.dtype() == DType::bfloat16) return activation_backward_in_float32(args);
  const auto which = static_cast<int>(args.activation);
  dispatch_floating(args.input.dtype(), [&]<typename T>() {
    const T *x = args.input.data<T>(), *dy = args.grad_output.data<T>();
    T* dx = args.grad_input.data<T>();
    T* y = args.output != nullptr ? args.output->data<T>() : nullptr;
    const auto& loops = vector::loops<T>();
    parallel_pieces(args.input.numel(), elements_per_piece, [&](int64_t begin, int64_t end) {
      const int64_t n = end - begin;
      if (y == nullptr) return loops.activation_backward[which](x + begin, dy + begin, dx + begin, n);
      loops.activation_both[which](x + begin, dy + begin, y + begin, dx + begin, n);
    });
  });
  if (args.column_sums != nullptr) column_sums({.input = args.grad_input, .outputs = {*args.column_sums}});
}

void CpuBackend::activation_with_derivative(Activation activation, const Tensor& input, const Tensor& output,
                                            const Tensor& derivative) {
  if (output.dtype() == DType::bfloat16) {
    const Tensor values = widened(input);
    activation_with_derivative(activation, values, values, derivative);
    return round_into(values, output);
  }
  const auto which = static_cast<int>(activation);
  dispatch_floating(output.dtype(), [&]<typename T>() {
    const T* from = input.data<T>();
    T* to = output.data<T>();
    const auto& loops = vector::loops<T>();
    const auto for_pieces = [&](auto function, auto* slopes) {
      parallel_pieces(output.numel(), elements_per_piece, [&](int64_t begin, int64_t end) {
        function(from + begin, to + begin, slopes + begin, end - begin);
      });
    };
    if (derivative.dtype() == DType::uint8) {
      return for_pieces(loops.activation_with_derivative_byte[which], derivative.data<uint8_t>());
    }
    for_pieces(loops.activation_with_derivative[which], derivative.data<T>());
  });
}

void CpuBackend::derivative_backward(const DerivativeBackward& args) {
  if (args.grad_input.dtype() == DType::bfloat16) return derivative_backward_in_float32(args);
  dispatch_floating(args.grad_input.dtype(), [&]<typename T>() {
    const T* dy = args.grad_output.data<T>();
    T* dx = args.grad_input.data<T>();
    const auto& loops = vector::loops<T>();
    const auto for_pieces = [&](auto function, const auto* slopes) {
      parallel_pieces(args.grad_input.numel(), elements_per_piece, [&](int64_t begin, int64_t end) {
        function(dy + begin, slopes + begin, dx + begin, end - begin);
      });
    };
    if (args.derivative.dtype() == DType::uint8) {
      return for_pieces(loops.multiply_by_byte, args.derivative.data<uint8_t>());
    }
    for_pieces(loops.multiply, args.derivative.data<T>());
  });
  if (args.column_sums != nullptr) column_sums({.input = args.grad_input, .outputs = {*args.column_sums}});
}

void CpuBackend::dropout(const Tensor& input, const DropoutMask& mask, const Tensor& output) {
  if (!mask.active()) {
    if (input.raw_data() != output.raw_data()) copy(output.raw_data(), input.raw_data(), input.nbytes());
    return;
  }
  if (output.dtype() == DType::bfloat16) {
    const Tensor values = widened(input);
    dropout(values, mask, values);
    return round_into(values, output);
  }
  dispatch_floating(output.dtype(), [&]<typename T>() {
    const int64_t columns = output.shape().back();
    const T* from = input.data<T>();
    T* to = output.data<T>();
    const DropoutRows rows(mask);
    const auto& loops = vector::loops<T>();
    parallel_rows(MatrixRef(output).rows, columns, [&](int64_t row) {
      loops.dropout(from + row * columns, rows.row(row), to + row * columns, columns);
    });
  });
}

}  // namespace normtune
