#pragma once

#include "cuda/elementwise.cuh"
#include "cuda/reductions.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// Rows of a block where the columns of the gradient are summed on the way.
constexpr int64_t activation_rows = 16;

/// `Kept` is what forward has left: the inputs, in T, or the derivatives there.
template <typename Kept, typename T>
struct ActivationBackwardArguments {
  const Kept* kept;
  const T* grad_output;
  T* grad_input;   // may be grad_output
  T* output;       // activation(input), or null; may be the input
  float* partial;  // [pieces, columns]: the sums over the rows of a block
  int64_t rows, columns;
};

/// A thread has four columns of a piece of rows. Gradient{}(kept, grad_output) is the gradient, Value{}(kept)
/// the output.
template <typename Gradient, typename Value, typename Kept, typename T, typename Access>
__global__ void activation_backward_kernel(ActivationBackwardArguments<Kept, T> args, Access access) {
  const int64_t begin = blockIdx.x * activation_rows;
  const int64_t end = begin + activation_rows < args.rows ? begin + activation_rows : args.rows;
  const int64_t first = 4 * (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x);
  const int64_t left = args.columns - first;
  if (left <= 0) return;
  Four sums{};
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = i * args.columns + first;
    const Four kept = access.load(args.kept + at, left);
    const Four grad = map_four(Gradient{}, kept, access.load(args.grad_output + at, left));
    access.store(args.grad_input + at, grad, left);
    if (args.output != nullptr) access.store(args.output + at, map_four(Value{}, kept), left);
    for (int k = 0; k < 4; ++k) sums[k] += grad[k];
  }
  access.store(args.partial + blockIdx.x * args.columns + first, sums, left);
}

/// Fills in `args` what belongs to the sums, and takes them.
template <typename Gradient, typename Value, typename Kept, typename T, typename Launcher>
void activation_backward_and_sums(const Launcher& launch, ActivationBackwardArguments<Kept, T> args,
                                  int64_t count, const Tensor& column_sums) {
  const int64_t columns = column_sums.numel(), rows = count / columns;
  const int64_t pieces = divide_up(rows, activation_rows);
  const Tensor partial = Tensor::empty({pieces, columns}, DType::float32, launch.device);
  args.partial = floats(partial);
  args.rows = rows;
  args.columns = columns;
  const Grid grid{.blocks = pieces, .blocks_y = divide_up(columns, 4 * row_threads), .threads = row_threads};
  const FourAccess fours =
      four_access(columns, args.kept, args.grad_output, args.grad_input, args.output, args.partial);
  with_access(fours, columns, [&]<typename Access>(Access access) {
    launch(activation_backward_kernel<Gradient, Value, Kept, T, Access>, grid, args, access);
  });
  SideBySide results;
  results.add(floats(column_sums), columns);
  sum_partial_rows(launch, partial, results);
}

template <typename Launcher>
void activation_backward(const Launcher& launch, const Backend::ActivationBackward& args) {
  with_activation_type(args.grad_input.dtype(), [&]<typename T>(T) {
    with_activation(args.activation, [&]<typename Function>(Function) {
      const int64_t count = args.grad_input.numel();
      const T *input = args.input.data<T>(), *grad_output = args.grad_output.data<T>();
      T* grad_input = args.grad_input.data<T>();
      if (args.column_sums != nullptr) {
        return activation_backward_and_sums<GradientOf<Function>, ValueOf<Function>>(
            launch,
            ActivationBackwardArguments<T, T>{.kept = input,
                                              .grad_output = grad_output,
                                              .grad_input = grad_input,
                                              .output = elements<T>(args.output)},
            count, *args.column_sums);
      }
      map(launch, GradientOf<Function>{}, count, grad_input, input, grad_output);
      if (args.output != nullptr) activation_forward(launch, args.activation, args.input, *args.output);
    });
  });
}

template <typename Launcher>
void derivative_backward(const Launcher& launch, const Backend::DerivativeBackward& args) {
  with_activation_type(args.grad_input.dtype(), [&]<typename T>(T) {
    with_derivatives(args.derivative, [&]<typename Derivative>(Derivative* derivative) {
      const int64_t count = args.grad_input.numel();
      const T* grad_output = args.grad_output.data<T>();
      T* grad_input = args.grad_input.data<T>();
      if (args.column_sums == nullptr) {
        return map(launch, ProductOfTwo{}, count, grad_input, derivative, grad_output);
      }
      activation_backward_and_sums<ProductOfTwo, Unchanged>(
          launch,
          ActivationBackwardArguments<Derivative, T>{
              .kept = derivative, .grad_output = grad_output, .grad_input = grad_input},
          count, *args.column_sums);
    });
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
