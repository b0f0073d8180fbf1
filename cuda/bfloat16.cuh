#pragma once

#include <optional>

#include "cuda/elementwise.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// A factor of a product in bfloat16. Its rows begin at multiples of 16 bytes, which the fast products ask
/// for.
struct RoundedMatrix {
  Tensor memory;  // undefined where the matrix is what it was before
  MatrixRef matrix;
};

/// Rows that lie next to each other are read and written in fours, others element by element. Between the
/// rows of `output` stand zeros.
template <typename T, typename Launcher>
void round_rows(const Launcher& launch, const MatrixRef& input, const MatrixRef& output) {
  const T* from = input.as<T>();
  auto* to = output.as<bfloat16>();
  const int64_t columns = input.cols, from_ld = input.ld, ld = output.ld;
  if (from_ld == columns && ld == columns) return map(launch, Unchanged{}, input.rows * columns, to, from);
  for_each_matrix_element(launch, input.rows, ld, [=] __device__(int64_t i, int64_t j) {
    to[i * ld + j] = rounded<bfloat16>(j < columns ? static_cast<float>(from[i * from_ld + j]) : 0.f);
  });
}

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
  with_activation_type(matrix.dtype, [&]<typename T>(T) { round_rows<T>(launch, matrix, copy.matrix); });
  return copy;
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
