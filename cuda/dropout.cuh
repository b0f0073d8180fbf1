#pragma once

#include "cuda/arguments.h"
#include "cuda/grid.h"
#include "cuda/vectors.cuh"
#include "tensor/philox.h"

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// A DropoutMask as kernels take it.
struct DropoutArguments {
  PhiloxKey given_key;
  const PhiloxKey* key_in_memory = nullptr;  // counts instead, where it is there
  uint32_t threshold = 0;
  float scale = 1;                       // of kept elements
  const int64_t* example_ids = nullptr;  // [num_rows]; null: no dropout
  const int32_t* positions = nullptr;    // [num_rows]

  __device__ PhiloxKey key() const { return key_in_memory == nullptr ? given_key : *key_in_memory; }
  __host__ __device__ bool active() const { return example_ids != nullptr; }
  __device__ bool keeps(uint32_t word) const { return word >= threshold; }
  __device__ float apply(float value, uint32_t word) const { return keeps(word) ? value * scale : 0.f; }
};

/// Of a tensor [1] int64 with the two words of a key; null for an undefined one.
inline const PhiloxKey* key_in_memory(const Tensor& key) {
  static_assert(sizeof(PhiloxKey) == sizeof(int64_t));
  return key.defined() ? reinterpret_cast<const PhiloxKey*>(key.data<int64_t>()) : nullptr;
}

inline DropoutArguments dropout_arguments(const DropoutMask& mask) {
  if (!mask.active()) return {};
  return {.given_key = mask.key,
          .key_in_memory = key_in_memory(mask.key_on_device),
          .threshold = dropout_threshold(mask.probability),
          .scale = static_cast<float>(1 / (1 - mask.probability)),
          .example_ids = mask.example_ids.data<int64_t>(),
          .positions = mask.positions.data<int32_t>()};
}

/// The random words of the channels 4 * group, ..., 4 * group + 3 of a row.
__device__ inline std::array<uint32_t, 4> dropout_words(const DropoutArguments& mask, int64_t row,
                                                        int64_t group, int64_t head = 0) {
  return philox4x32({static_cast<uint32_t>(mask.example_ids[row]), static_cast<uint32_t>(mask.positions[row]),
                     static_cast<uint32_t>(group), static_cast<uint32_t>(head)},
                    mask.key());
}

/// dropout of the channels 4 * group, ..., 4 * group + 3 of a row.
__device__ inline Four drop_four(const DropoutArguments& mask, int64_t row, int64_t group,
                                 const Four& values) {
  const auto words = dropout_words(mask, row, group);
  Four dropped;
  for (int i = 0; i < 4; ++i) dropped[i] = mask.apply(values[i], words[i]);
  return dropped;
}

/// A block has a row, a thread has groups of four channels of it.
template <typename T>
__global__ void dropout_kernel(const T* input, DropoutArguments mask, T* output, int64_t columns,
                               FourAccess access) {
  const int64_t row = blockIdx.x, at = row * columns;
  for (int64_t first = 4 * threadIdx.x; first < columns; first += 4 * blockDim.x) {
    const int64_t left = columns - first;
    const Four values = access.load(input + at + first, left);
    access.store(output + at + first, drop_four(mask, row, first / 4, values), left);
  }
}

template <typename Launcher>
void dropout(const Launcher& launch, const Tensor& input, const DropoutMask& mask, const Tensor& output) {
  const MatrixRef rows(output);
  with_activation_type(output.dtype(), [&]<typename T>(T) {
    const T* from = input.data<T>();
    T* to = output.data<T>();
    launch(dropout_kernel<T>, one_block_for_each(rows.rows), from, dropout_arguments(mask), to, rows.cols,
           four_access(rows.cols, from, to));
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
