#pragma once

#include "cuda/elementwise.cuh"

// Kernels that move values without looking at them take words of an element's size, of four bytes at most.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// Calls body(Word{}, number of words of an element).
template <typename Body>
void with_words(DType dtype, const Body& body) {
  if (dtype == DType::bfloat16) return body(uint16_t{}, int64_t{1});
  if (dtype == DType::uint8) return body(uint8_t{}, int64_t{1});
  body(uint32_t{}, static_cast<int64_t>(size_of(dtype) / sizeof(uint32_t)));
}

template <typename T, typename Launcher>
void fill_elements(const Launcher& launch, const Tensor& output, T value) {
  T* elements = output.data<T>();
  for_each_element(launch, output.numel(), [=] __device__(int64_t i) { elements[i] = value; });
}

template <typename Launcher>
void fill(const Launcher& launch, const Tensor& output, double value) {
  require_float32(output.dtype());
  switch (output.dtype()) {
    case DType::uint8:
      return fill_elements(launch, output, static_cast<uint8_t>(value));
    case DType::int32:
      return fill_elements(launch, output, static_cast<int32_t>(value));
    case DType::int64:
      return fill_elements(launch, output, static_cast<int64_t>(value));
    case DType::bfloat16:
      return fill_elements(launch, output, bfloat16(static_cast<float>(value)));
    default:
      return fill_elements(launch, output, static_cast<float>(value));
  }
}

struct alignas(16) FourPlainWords {
  uint32_t words[4];
};

template <typename Word, typename Launcher>
void copy_contiguous(const Launcher& launch, void* destination, const void* source, size_t bytes) {
  auto* to = static_cast<Word*>(destination);
  const auto* from = static_cast<const Word*>(source);
  for_each_element(launch, static_cast<int64_t>(bytes / sizeof(Word)),
                   [=] __device__(int64_t i) { to[i] = from[i]; });
}

/// Places that do not overlap. CUDA's own copies ask that a place lies in one allocation, which one in the
/// memory of captured work need not (tensor/captured_memory.h).
template <typename Launcher>
void copy(const Launcher& launch, void* destination, const void* source, size_t bytes) {
  const size_t places = reinterpret_cast<uintptr_t>(destination) | reinterpret_cast<uintptr_t>(source);
  if ((places | bytes) % sizeof(FourPlainWords) == 0) {
    return copy_contiguous<FourPlainWords>(launch, destination, source, bytes);
  }
  if ((places | bytes) % sizeof(uint32_t) == 0) {
    return copy_contiguous<uint32_t>(launch, destination, source, bytes);
  }
  copy_contiguous<uint8_t>(launch, destination, source, bytes);
}

template <typename Word, typename Launcher>
void copy_words(const Launcher& launch, const MatrixRef& input, const MatrixRef& output, int64_t words) {
  const int64_t input_ld = input.ld * words, output_ld = output.ld * words;
  const auto* from = static_cast<const Word*>(input.data);
  auto* to = static_cast<Word*>(output.data);
  for_each_matrix_element(launch, input.rows, input.cols * words, [=] __device__(int64_t i, int64_t j) {
    to[i * output_ld + j] = from[i * input_ld + j];
  });
}

template <typename Launcher>
void copy_matrix(const Launcher& launch, const MatrixRef& input, const MatrixRef& output) {
  with_words(input.dtype,
             [&]<typename Word>(Word, int64_t words) { copy_words<Word>(launch, input, output, words); });
}

template <typename Word, typename Launcher>
void clear_words(const Launcher& launch, const MatrixRef& output, int64_t words) {
  const int64_t ld = output.ld * words;
  auto* to = static_cast<Word*>(output.data);
  for_each_matrix_element(launch, output.rows, output.cols * words,
                          [=] __device__(int64_t i, int64_t j) { to[i * ld + j] = 0; });
}

/// Sets a matrix to zero.
template <typename Launcher>
void clear_matrix(const Launcher& launch, const MatrixRef& output) {
  with_words(output.dtype,
             [&]<typename Word>(Word, int64_t words) { clear_words<Word>(launch, output, words); });
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

template <typename Word, typename Launcher>
void gather_words(const Launcher& launch, const Backend::GatherRows& args, int64_t words) {
  const int64_t columns = args.output.shape().back() * words;
  const auto* from = static_cast<const Word*>(args.input.raw_data());
  const int32_t* index = args.index.data<int32_t>();
  auto* to = static_cast<Word*>(args.output.raw_data());
  for_each_matrix_element(launch, args.index.numel(), columns, [=] __device__(int64_t i, int64_t j) {
    to[i * columns + j] = from[index[i] * columns + j];
  });
}

template <typename Launcher>
void gather_rows(const Launcher& launch, const Backend::GatherRows& args) {
  with_words(args.output.dtype(),
             [&]<typename Word>(Word, int64_t words) { gather_words<Word>(launch, args, words); });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
