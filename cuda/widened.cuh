#pragma once

#include "cuda/elementwise.cuh"

// Activations in bfloat16 for kernels that know float32 alone, as on the CPU (tensor/cpu/widened.h).

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

template <typename From, typename To, typename Launcher>
void convert_matrix(const Launcher& launch, const MatrixRef& input, const MatrixRef& output) {
  const From* from = input.as<From>();
  To* to = output.as<To>();
  const int64_t from_ld = input.ld, ld = output.ld;
  for_each_matrix_element(launch, output.rows, output.cols, [=] __device__(int64_t i, int64_t j) {
    to[i * ld + j] = rounded<To>(static_cast<float>(from[i * from_ld + j]));
  });
}

/// A contiguous copy of a bfloat16 matrix in float32.
template <typename Launcher>
Tensor widened(const Launcher& launch, const MatrixRef& matrix) {
  const Tensor copy = Tensor::empty({matrix.rows, matrix.cols}, DType::float32, launch.device);
  convert_matrix<bfloat16, float>(launch, matrix, copy);
  return copy;
}

/// target = values, rounded to bfloat16.
template <typename Launcher>
void round_into(const Launcher& launch, const Tensor& values, const MatrixRef& target) {
  convert_matrix<float, bfloat16>(launch, values, target);
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
