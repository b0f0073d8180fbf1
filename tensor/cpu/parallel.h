#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/tensor.h"

namespace normtune {

inline int64_t divide_up(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

inline int64_t round_up(int64_t value, int64_t multiple) {
  return divide_up(value, multiple) * multiple;
}

/// Elements that one thread takes at a time in an element-wise kernel.
constexpr int64_t elements_per_piece = 16384;

/// Calls body(begin, end) for the pieces [0, grain), [grain, 2 grain), ... of [0, count), spread over the
/// threads. The pieces depend on count and grain alone: a reduction that keeps one partial result for each
/// piece has the same bits for any number of threads.
template <typename Body>
void parallel_pieces(int64_t count, int64_t grain, const Body& body) {
  const int64_t pieces = divide_up(count, grain);
#pragma omp parallel for schedule(static) if (pieces > 1)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    body(piece * grain, std::min((piece + 1) * grain, count));
  }
}

/// Rows in one piece, so that a piece has about elements_per_piece elements.
inline int64_t rows_per_piece(int64_t columns) {
  return std::max<int64_t>(1, elements_per_piece / std::max<int64_t>(columns, 1));
}

/// Calls body(row) for each row, spread over the threads.
template <typename Body>
void parallel_rows(int64_t rows, int64_t columns, const Body& body) {
  parallel_pieces(rows, rows_per_piece(columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

/// Rows whose sum makes one partial result of a sum over rows.
constexpr int64_t rows_per_partial_sum = 32;

inline int64_t num_partial_sums(int64_t rows) {
  return divide_up(rows, rows_per_partial_sum);
}

/// output[j] = sum over i of partial[i, j], in the order of i.
template <typename T>
void sum_partial_rows(const T* partial, int64_t rows, int64_t columns, T* output) {
  constexpr int64_t columns_per_piece = 256;
  parallel_pieces(columns, columns_per_piece, [&](int64_t begin, int64_t end) {
    double sums[columns_per_piece] = {};
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t j = begin; j < end; ++j)
        sums[j - begin] += static_cast<double>(partial[row * columns + j]);
    }
    for (int64_t j = begin; j < end; ++j) output[j] = static_cast<T>(sums[j - begin]);
  });
}

}  // namespace normtune
