#pragma once

#include <vector>

#include "cuda/elementwise.cuh"

// One kernel for many tensors. A launch costs some microseconds, more than the work on a small tensor: a
// kernel here takes a table of tensors, and its blocks share their elements out among themselves.

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

/// Elements that a block works on.
constexpr int64_t elements_per_piece = 4096;

/// All arguments of a kernel may have so many bytes; those beside a table have less than 256.
#if defined(__CUDACC__)
constexpr int64_t argument_bytes = 32'764;  // since CUDA 12.1
#else
constexpr int64_t argument_bytes = 4096;  // the emulator copies them for every thread
#endif

/// Tensors as one argument of a kernel. Arguments are copied when the kernel is enqueued, so that the host
/// need not keep the table, nor wait. `Entry` is what the kernel knows of a tensor; its `count` is the number
/// of elements.
template <typename Entry>
struct TensorTable {
  static constexpr int capacity = (argument_bytes - 256) / (sizeof(Entry) + sizeof(int64_t));

  int size;
  int64_t pieces_end[capacity];  // pieces of the tensors up to and with this one
  Entry entries[capacity];

  __host__ __device__ int64_t pieces_begin(int tensor) const {
    return tensor == 0 ? 0 : pieces_end[tensor - 1];
  }
  int64_t num_pieces() const { return pieces_begin(size); }
};

/// Calls work(table, number of its first tensor) for tables that hold all entries in their order.
template <typename Entry, typename Work>
void for_each_table(const std::vector<Entry>& entries, const Work& work) {
  const auto count = static_cast<int64_t>(entries.size());
  for (int64_t first = 0; first < count; first += TensorTable<Entry>::capacity) {
    TensorTable<Entry> table{};
    while (table.size < TensorTable<Entry>::capacity && first + table.size < count) {
      const Entry& entry = entries[static_cast<size_t>(first + table.size)];
      const int64_t pieces = divide_up(entry.count, elements_per_piece);
      table.entries[table.size] = entry;
      table.pieces_end[table.size] = table.pieces_begin(table.size) + pieces;
      ++table.size;
    }
    work(table, first);
  }
}

/// Elements [begin, end) of a tensor.
struct Piece {
  int tensor;
  int64_t begin, end;
};

/// The piece of this block, of the first tensor whose pieces end behind it.
template <typename Entry>
__device__ Piece piece_of_block(const TensorTable<Entry>& table) {
  int tensor = 0, last = table.size - 1;
  while (tensor < last) {
    const int middle = (tensor + last) / 2;
    if (table.pieces_end[middle] <= blockIdx.x) {
      tensor = middle + 1;
    } else {
      last = middle;
    }
  }
  const int64_t begin = (blockIdx.x - table.pieces_begin(tensor)) * elements_per_piece;
  const int64_t end = begin + elements_per_piece, count = table.entries[tensor].count;
  return {tensor, begin, end < count ? end : count};
}

template <typename Entry, typename Function>
__global__ void table_kernel(const __grid_constant__ TensorTable<Entry> table, Function function) {
  const Piece piece = piece_of_block(table);
  function(table.entries[piece.tensor], piece);
}

/// Each thread of a block calls function(entry, piece), for each piece of each tensor.
template <typename Launcher, typename Entry, typename Function>
void for_each_piece_of(const Launcher& launch, const std::vector<Entry>& entries, const Function& function) {
  for_each_table(entries, [&](const TensorTable<Entry>& table, int64_t) {
    launch(table_kernel<Entry, Function>, Grid{.blocks = table.num_pieces(), .threads = element_threads},
           table, function);
  });
}

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda
