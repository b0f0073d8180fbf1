#pragma once

#include "cuda/elementwise.cuh"
#include "cuda/reductions.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// Rows of a block where the columns of the gradient are summed on the way.
constexpr int64_t activation_rows = 16;

template <typename T>
struct ActivationBackwardArguments {
  const T *input, *grad_output;
  T* grad_input;   // may be grad_output
  T* output;       // activation(input), or null; may be input
  float* partial;  // [pieces, columns]: the sums over the rows of a block
  int64_t rows, columns;
};

/// A thread has four columns of a piece of rows.
template <typename Function, typename T, typename Access>
__global__ void activation_backward_kernel(ActivationBackwardArguments<T> args, Access access) {
  const int64_t begin = blockIdx.x * activation_rows;
  const int64_t end = begin + activation_rows < args.rows ? begin + activation_rows : args.rows;
  const int64_t first = 4 * (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x);
  const int64_t left = args.columns - first;
  if (left <= 0) return;
  Four sums{};
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = i * args.columns + first;
    const Four input = access.load(args.input + at, left);
    const Four grad = map_four(GradientOf<Function>{}, input, access.load(args.grad_output + at, left));
    access.store(args.grad_input + at, grad, left);
    if (args.output != nullptr) access.store(args.output + at, map_four(ValueOf<Function>{}, input), left);
    for (int k = 0; k < 4; ++k) sums[k] += grad[k];
  }
  access.store(args.partial + blockIdx.x * args.columns + first, sums, left);
}

template <typename Function, typename T, typename Launcher>
void activation_backward_and_sums(const Launcher& launch, const Backend::ActivationBackward& args) {
  const int64_t columns = args.column_sums->numel(), rows = args.input.numel() / columns;
  const int64_t pieces = divide_up(rows, activation_rows);
  const Tensor partial = Tensor::empty({pieces, columns}, DType::float32, launch.device);
  const ActivationBackwardArguments<T> arguments{.input = args.input.data<T>(),
                                                 .grad_output = args.grad_output.data<T>(),
                                                 .grad_input = args.grad_input.data<T>(),
                                                 .output = elements<T>(args.output),
                                                 .partial = floats(partial),
                                                 .rows = rows,
                                                 .columns = columns};
  const Grid grid{.blocks = pieces, .blocks_y = divide_up(columns, 4 * row_threads), .threads = row_threads};
  const FourAccess fours = four_access(columns, arguments.input, arguments.grad_output, arguments.grad_input,
                                       arguments.output, arguments.partial);
  with_access(fours, columns, [&]<typename Access>(Access access) {
    launch(activation_backward_kernel<Function, T, Access>, grid, arguments, access);
  });
  SideBySide results;
  results.add(floats(*args.column_sums), columns);
  sum_partial_rows(launch, partial, results);
}

template <typename Launcher>
void activation_backward(const Launcher& launch, const Backend::ActivationBackward& args) {
  with_activation_type(args.grad_input.dtype(), [&]<typename T>(T) {
    with_activation(args.activation, [&]<typename Function>(Function) {
      if (args.column_sums != nullptr) return activation_backward_and_sums<Function, T>(launch, args);
      map(launch, GradientOf<Function>{}, args.grad_input.numel(), args.grad_input.data<T>(),
          args.input.data<T>(), args.grad_output.data<T>());
      if (args.output != nullptr) activation_forward(launch, args.activation, args.input, *args.output);
    });
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
