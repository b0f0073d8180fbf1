#include <cmath>
#include <numeric>
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"
#include "tensor/widened.h"

namespace normtune {
namespace {

/// Sums reduce(begin, end) over fixed pieces of [0, count), in their order.
template <typename Reduce>
double sum_of_pieces(int64_t count, const Reduce& reduce) {
  std::vector<double> partial(static_cast<size_t>((count + elements_per_piece - 1) / elements_per_piece));
  parallel_pieces(count, elements_per_piece, [&](int64_t begin, int64_t end) {
    partial[static_cast<size_t>(begin / elements_per_piece)] = reduce(begin, end);
  });
  return std::accumulate(partial.begin(), partial.end(), 0.0);
}

double squared_norm(const Tensor& input, const Tensor* indices) {
  return dispatch_floating(input.dtype(), [&]<typename T>() {
    const T* elements = input.data<T>();
    if (indices == nullptr) {
      const auto& loops = vector::loops<T>();
      return sum_of_pieces(input.numel(), [&](int64_t begin, int64_t end) {
        return loops.sum_of_squares(elements + begin, end - begin);
      });
    }
    const int64_t* index = indices->data<int64_t>();
    return sum_of_pieces(indices->numel(), [&](int64_t begin, int64_t end) {
      double total = 0;
      for (int64_t i = begin; i < end; ++i) {
        const double value = static_cast<double>(elements[index[i]]);
        total += value * value;
      }
      return total;
    });
  });
}

/// Sums of the columns of a float32 or float64 matrix.
void sum_columns(const MatrixRef& matrix, const Tensor& output) {
  const int64_t rows = matrix.rows, columns = matrix.cols, ld = matrix.ld;
  const int64_t num_blocks = num_partial_sums(rows);
  const Tensor partial = Tensor::zeros({num_blocks, columns}, matrix.dtype);
  dispatch_floating(matrix.dtype, [&]<typename T>() {
    const T* input = matrix.as<T>();
    const auto& loops = vector::loops<T>();
    parallel_pieces(rows, rows_per_partial_sum, [&](int64_t begin, int64_t end) {
      T* sums = partial.data<T>() + begin / rows_per_partial_sum * columns;
      for (int64_t row = begin; row < end; ++row) loops.add(sums, input + row * ld, sums, columns);
    });
    sum_partial_rows(partial.data<T>(), num_blocks, columns, output.data<T>());
  });
}

}  // namespace

void CpuBackend::column_sums(const ColumnSums& args) {
  if (args.input.dtype == DType::bfloat16) {
    return column_sums({.input = widened(args.input), .outputs = args.outputs});
  }
  int64_t column = 0;
  for (const Tensor& output : args.outputs) {
    const int64_t end = column + output.numel();
    sum_columns(args.input.columns(column, end), output);
    column = end;
  }
}

void CpuBackend::sum(const Tensor& input, const Tensor& output) {
  dispatch_floating(input.dtype(), [&]<typename T>() {
    const T* elements = input.data<T>();
    const auto& loops = vector::loops<T>();
    output.data<T>()[0] = static_cast<T>(sum_of_pieces(
        input.numel(), [&](int64_t begin, int64_t end) { return loops.sum(elements + begin, end - begin); }));
  });
}

void CpuBackend::squared_norms(const std::vector<NormInput>& inputs, const Tensor& output) {
  auto* norm = output.data<double>();
  for (const NormInput& input : inputs) *norm++ = squared_norm(input.tensor, input.indices);
}

}  // namespace normtune
