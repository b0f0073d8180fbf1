#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/vector/dispatch.h"

namespace normtune {
namespace {

/// The rows of grad_output in the order of their index, rows of equal index in their own order.
std::vector<int32_t> rows_sorted_by_index(const int32_t* index, int64_t num_rows) {
  std::vector<int32_t> order(static_cast<size_t>(num_rows));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [index](int32_t a, int32_t b) { return index[a] < index[b]; });
  return order;
}

/// Each thread adds all rows of an index: no two threads meet in a row of grad_input.
template <typename T>
void scatter_add(const Backend::ScatterAddRows& args) {
  const int64_t num_rows = args.index.numel();
  const int64_t columns = args.grad_input.shape().back();
  const int32_t* index = args.index.data<int32_t>();
  const T* grad_output = args.grad_output.data<T>();
  T* grad_input = args.grad_input.data<T>();
  const std::vector<int32_t> order = rows_sorted_by_index(index, num_rows);
  const auto& loops = vector::loops<T>();
  parallel_pieces(num_rows, rows_per_piece(columns), [&](int64_t begin, int64_t end) {
    const auto index_at = [&](int64_t i) { return index[order[static_cast<size_t>(i)]]; };
    // A run of equal indices belongs to the piece in which it begins.
    while (begin < end && begin > 0 && index_at(begin) == index_at(begin - 1)) ++begin;
    if (begin == end) return;
    while (end < num_rows && index_at(end) == index_at(end - 1)) ++end;
    for (int64_t i = begin; i < end; ++i) {
      if (index_at(i) == args.skip_index) continue;
      T* row = grad_input + index_at(i) * columns;
      loops.add(row, grad_output + order[static_cast<size_t>(i)] * columns, row, columns);
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
  fill(args.grad_input, 0);
  dispatch_floating(args.grad_input.dtype(), [&]<typename T>() { scatter_add<T>(args); });
}

}  // namespace normtune
