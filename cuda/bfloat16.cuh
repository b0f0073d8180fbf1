#pragma once

#include "cuda/elementwise.cuh"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// A matrix in bfloat16, its rows `ld` elements apart.
struct RoundedMatrix {
  Tensor memory;  // two elements in each float32
  int64_t ld;

  uint16_t* data() const { return reinterpret_cast<uint16_t*>(floats(memory)); }
};

/// A copy of a matrix, rounded. Its rows begin at multiples of 16 bytes, which the fast products ask for;
/// what lies between them is zero.
template <typename Launcher>
RoundedMatrix round_to_bfloat16(const Launcher& launch, const MatrixRef& matrix) {
  constexpr int64_t elements_in_16_bytes = 8;
  const int64_t ld = (matrix.cols + elements_in_16_bytes - 1) / elements_in_16_bytes * elements_in_16_bytes;
  RoundedMatrix rounded{.memory = Tensor::empty({matrix.rows, ld / 2}, DType::float32, launch.device),
                        .ld = ld};
  const float* from = floats(matrix);
  uint16_t* to = rounded.data();
  const int64_t columns = matrix.cols, from_ld = matrix.ld;
  for_each_matrix_element(launch, matrix.rows, ld, [=] __device__(int64_t i, int64_t j) {
    to[i * ld + j] = j < columns ? bfloat16(from[i * from_ld + j]).bits : uint16_t{0};
  });
  return rounded;
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
