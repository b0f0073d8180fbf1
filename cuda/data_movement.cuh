#pragma once

#include "cuda/elementwise.cuh"

// Kernels that move values without looking at them take words of four bytes.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

inline int64_t words_of(DType dtype) {
  return static_cast<int64_t>(size_of(dtype) / 4);
}

template <typename T, typename Launcher>
void fill_elements(const Launcher& launch, const Tensor& output, double value) {
  T* elements = output.data<T>();
  const auto wanted = static_cast<T>(value);
  for_each_element(launch, output.numel(), [=] __device__(int64_t i) { elements[i] = wanted; });
}

template <typename Launcher>
void fill(const Launcher& launch, const Tensor& output, double value) {
  require_float32(output.dtype());
  switch (output.dtype()) {
    case DType::int32:
      return fill_elements<int32_t>(launch, output, value);
    case DType::int64:
      return fill_elements<int64_t>(launch, output, value);
    default:
      return fill_elements<float>(launch, output, value);
  }
}

/// Sets a matrix to zero.
template <typename Launcher>
void clear_matrix(const Launcher& launch, const MatrixRef& output) {
  float* to = floats(output);
  const int64_t ld = output.ld;
  for_each_matrix_element(launch, output.rows, output.cols,
                          [=] __device__(int64_t i, int64_t j) { to[i * ld + j] = 0.f; });
}

template <typename Launcher>
void copy_matrix(const Launcher& launch, const MatrixRef& input, const MatrixRef& output) {
  const int64_t words = words_of(input.dtype), input_ld = input.ld * words, output_ld = output.ld * words;
  const auto* from = static_cast<const uint32_t*>(input.data);
  auto* to = static_cast<uint32_t*>(output.data);
  for_each_matrix_element(launch, input.rows, input.cols * words, [=] __device__(int64_t i, int64_t j) {
    to[i * output_ld + j] = from[i * input_ld + j];
  });
}

/// Where an element of a permuted tensor comes from.
struct PermutedIndex {
  int rank = 0;
  int64_t sizes[Shape::max_rank] = {};    // of the output
  int64_t strides[Shape::max_rank] = {};  // distance in the input of two neighbours along each of them

  __host__ __device__ int64_t source(int64_t i) const {
    int64_t offset = 0;
    for (int dim = rank - 1; dim >= 0; --dim) {
      offset += i % sizes[dim] * strides[dim];
      i /= sizes[dim];
    }
    return offset;
  }
};

inline PermutedIndex permuted_index(const Backend::Permute& args) {
  const Shape &input = args.input.shape(), &output = args.output.shape();
  PermutedIndex index{.rank = output.rank()};
  for (int dim = 0; dim < index.rank; ++dim) {
    index.sizes[dim] = output[dim];
    index.strides[dim] = 1;
    for (int inner = args.order[static_cast<size_t>(dim)] + 1; inner < index.rank; ++inner) {
      index.strides[dim] *= input[inner];
    }
  }
  return index;
}

template <typename Launcher>
void permute(const Launcher& launch, const Backend::Permute& args) {
  const float* from = floats(args.input);
  float* to = floats(args.output);
  const PermutedIndex index = permuted_index(args);
  for_each_element(launch, args.output.numel(), [=] __device__(int64_t i) { to[i] = from[index.source(i)]; });
}

template <typename Launcher>
void gather_rows(const Launcher& launch, const Backend::GatherRows& args) {
  const int64_t columns = args.output.shape().back() * words_of(args.output.dtype());
  const auto* from = static_cast<const uint32_t*>(args.input.raw_data());
  const int32_t* index = args.index.data<int32_t>();
  auto* to = static_cast<uint32_t*>(args.output.raw_data());
  for_each_matrix_element(launch, args.index.numel(), columns, [=] __device__(int64_t i, int64_t j) {
    to[i * columns + j] = from[index[i] * columns + j];
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
