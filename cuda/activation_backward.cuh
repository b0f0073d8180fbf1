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
    const Four grad = map_four(GradientOf<Function>{}, access.load(args.input + at, left),
                               access.load(args.grad_output + at, left));
    access.store(args.grad_input + at, grad, left);
    for (int k = 0; k < 4; ++k) sums[k] += grad[k];
  }
  access.store(args.partial + blockIdx.x * args.columns + first, sums, left);
}

template <typename Function, typename T, typename Launcher>
void activation_backward_and_sums(const Launcher& launch, const Tensor& input, const Tensor& grad_output,
                                  const Tensor& grad_input, const Tensor& column_sums) {
  const int64_t columns = column_sums.numel(), rows = input.numel() / columns;
  const int64_t pieces = divide_up(rows, activation_rows);
  const Tensor partial = Tensor::empty({pieces, columns}, DType::float32, launch.device);
  const ActivationBackwardArguments<T> args{.input = input.data<T>(),
                                            .grad_output = grad_output.data<T>(),
                                            .grad_input = grad_input.data<T>(),
                                            .partial = floats(partial),
                                            .rows = rows,
                                            .columns = columns};
  const Grid grid{.blocks = pieces, .blocks_y = divide_up(columns, 4 * row_threads), .threads = row_threads};
  with_access(four_access(columns, args.input, args.grad_output, args.grad_input, args.partial), columns,
              [&]<typename Access>(Access access) {
                launch(activation_backward_kernel<Function, T, Access>, grid, args, access);
              });
  SideBySide results;
  results.add(floats(column_sums), columns);
  sum_partial_rows(launch, partial, results);
}

template <typename Launcher>
void activation_backward(const Launcher& launch, Activation activation, const Tensor& input,
                         const Tensor& grad_output, const Tensor& grad_input, const Tensor* column_sums) {
  with_activation_type(grad_input.dtype(), [&]<typename T>(T) {
    with_activation(activation, [&]<typename Function>(Function) {
      if (column_sums != nullptr) {
        return activation_backward_and_sums<Function, T>(launch, input, grad_output, grad_input,
                                                         *column_sums);
      }
      map(launch, GradientOf<Function>{}, grad_input.numel(), grad_input.data<T>(), input.data<T>(),
          grad_output.data<T>());
    });
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
