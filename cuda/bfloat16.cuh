#pragma once

#include "cuda/data_movement.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// A factor of a product in bfloat16. Its rows begin at multiples of 16 bytes, which the fast products ask
/// for.
struct RoundedMatrix {
  Tensor memory;  // undefined where the matrix is what it was before
  MatrixRef matrix;
};

/// The matrix as a factor of a product: itself, or a copy.
template <typename Launcher>
RoundedMatrix round_to_bfloat16(const Launcher& launch, const MatrixRef& matrix) {
  constexpr int64_t elements_in_16_bytes = 8;
  const bool begins_well = reinterpret_cast<uintptr_t>(matrix.data) % 16 == 0;
  if (matrix.dtype == DType::bfloat16 && begins_well && matrix.ld % elements_in_16_bytes == 0) {
    return {.memory = {}, .matrix = matrix};
  }
  const int64_t ld = divide_up(matrix.cols, elements_in_16_bytes) * elements_in_16_bytes;
  RoundedMatrix copy{.memory = Tensor::empty({matrix.rows, ld}, DType::bfloat16, launch.device),
                     .matrix = {}};
  copy.matrix = MatrixRef(copy.memory).columns(0, matrix.cols);
  if (ld != matrix.cols)
    fill(launch, copy.memory, 0);  // between the rows too: products read 16 bytes at once
  convert(launch, matrix, copy.matrix);
  return copy;
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
