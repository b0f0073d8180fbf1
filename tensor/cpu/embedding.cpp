#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"
#include "tensor/widened.h"

namespace normtune {
namespace {

/// The rows of grad_output in the order of their index, rows of equal index in their own order.
std::vector<int32_t> rows_sorted_by_index(const int32_t* index, int64_t num_rows) {
  std::vector<int32_t> order(static_cast<size_t>(num_rows));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [index](int32_t a, int32_t b) { return index[a] < index[b]; });
  return order;
}

/// Calls body(rows) with the rows of each index in ascending order, spread over the threads: no two threads
/// meet in an index.
template <typename Body>
void for_each_index(const Tensor& index_tensor, int64_t columns, const Body& body) {
  const int64_t num_rows = index_tensor.numel();
  const int32_t* index = index_tensor.data<int32_t>();
  const std::vector<int32_t> order = rows_sorted_by_index(index, num_rows);
  parallel_pieces(num_rows, rows_per_piece(columns), [&](int64_t begin, int64_t end) {
    const auto index_at = [&](int64_t i) { return index[order[static_cast<size_t>(i)]]; };
    // A run of equal indices belongs to the piece in which it begins.
    while (begin < end && begin > 0 && index_at(begin) == index_at(begin - 1)) ++begin;
    while (begin < end) {
      int64_t run_end = begin + 1;
      while (run_end < num_rows && index_at(run_end) == index_at(begin)) ++run_end;
      body(std::span(order).subspan(static_cast<size_t>(begin), static_cast<size_t>(run_end - begin)));
      begin = run_end;
    }
  });
}

template <typename T>
void scatter_add(const Backend::ScatterAddRows& args) {
  const int64_t columns = args.grad_input.shape().back();
  const int32_t* index = args.index.data<int32_t>();
  const T* grad_output = args.grad_output.data<T>();
  const auto& loops = vector::loops<T>();
  for_each_index(args.index, columns, [&](std::span<const int32_t> rows) {
    if (index[rows.front()] == args.skip_index) return;
    T* sum = args.grad_input.data<T>() + index[rows.front()] * columns;
    for (const int32_t row : rows) loops.add(sum, grad_output + row * columns, sum, columns);
  });
}

/// The example that owns each row.
std::vector<int32_t> examples_of_rows(const Tensor& cu_seqlens, int64_t num_rows) {
  const int32_t* bounds = cu_seqlens.data<int32_t>();
  std::vector<int32_t> examples(static_cast<size_t>(num_rows));
  for (int32_t e = 0; e + 1 < cu_seqlens.numel(); ++e) {
    std::fill(examples.begin() + bounds[e], examples.begin() + bounds[e + 1], e);
  }
  return examples;
}

/// The rows of an index ascend, so those of an example stand side by side.
template <typename T>
void squared_scatter_add(const Backend::SquaredScatterAddRows& args) {
  const int64_t columns = args.grad_input.shape().back();
  const int32_t* index = args.index.data<int32_t>();
  const T* grad_output = args.grad_output.data<T>();
  const std::vector<int32_t> example = examples_of_rows(args.cu_seqlens, args.index.numel());
  const auto example_of = [&](int32_t row) { return example[static_cast<size_t>(row)]; };
  const auto& loops = vector::loops<T>();
  for_each_index(args.index, columns, [&](std::span<const int32_t> rows) {
    if (index[rows.front()] == args.skip_index) return;
    T* squares = args.grad_input.data<T>() + index[rows.front()] * columns;
    std::vector<T> sum(static_cast<size_t>(columns));
    for (size_t i = 0; i < rows.size(); ++i) {
      loops.add(sum.data(), grad_output + rows[i] * columns, sum.data(), columns);
      if (i + 1 < rows.size() && example_of(rows[i + 1]) == example_of(rows[i])) continue;
      loops.add_squares(sum.data(), squares, columns);
      std::fill(sum.begin(), sum.end(), T(0));
    }
  });
}

}  // namespace

void CpuBackend::gather_rows(const GatherRows& args) {
  const int32_t* index = args.index.data<int32_t>();
  const int64_t columns = args.output.shape().back();
  const size_t row_bytes = static_cast<size_t>(columns) * size_of(args.output.dtype());
  const auto* input = static_cast<const std::byte*>(args.input.raw_data());
  auto* output = static_cast<std::byte*>(args.output.raw_data());
  if (row_bytes == 0) return;
  parallel_rows(args.index.numel(), columns, [&](int64_t row) {
    std::memcpy(output + static_cast<size_t>(row) * row_bytes,
                input + static_cast<size_t>(index[row]) * row_bytes, row_bytes);
  });
}

void CpuBackend::scatter_add_rows(const ScatterAddRows& args) {
  if (args.grad_input.dtype() == DType::bfloat16) {
    const Tensor sums = Tensor::empty(args.grad_input.shape(), DType::float32);
    scatter_add_rows({.grad_output = widened(args.grad_output),
                      .index = args.index,
                      .grad_input = sums,
                      .skip_index = args.skip_index});
    return round_into(sums, args.grad_input);
  }
  fill(args.grad_input, 0);
  dispatch_floating(args.grad_input.dtype(), [&]<typename T>() { scatter_add<T>(args); });
}

void CpuBackend::squared_scatter_add_rows(const SquaredScatterAddRows& args) {
  fill(args.grad_input, 0);
  dispatch_floating(args.grad_input.dtype(), [&]<typename T>() { squared_scatter_add<T>(args); });
}

}  // namespace normtune
