#include "tensor/cpu/gemm.h"

#include <omp.h>

#include <algorithm>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/task_grid.h"
#include "tensor/cpu/vector/dispatch.h"

// The product is the one of Goto and van de Geijn (2008, "Anatomy of high-performance matrix
// multiplication"): b is cut into contiguous panels, which lie in the caches while a tile of c stays in
// registers (vector/product.h).

namespace normtune {
namespace {

// Terms of one pass over c, which fixes the order of the sum.
constexpr int64_t block_k = 384;
// Columns whose panels, of block_k terms, stay in the second-level cache while rows pass by, and the fewest
// of a task: multiples of the panels of all instruction sets.
constexpr int64_t block_n = 192, smallest_block_n = block_n / 2;
// Rows of a task whose panels are packed already, and the fewest beside which packing them is little work.
constexpr int64_t block_m = 64, rows_worth_packing = 256;
// From so many rows for each column on, packing all columns in each thread is little beside multiplying.
constexpr int64_t rows_for_each_column = 4;
// Tasks for each thread if possible, so that none waits long for the slowest.
constexpr int64_t tasks_per_thread = 4;

template <typename T>
void set_to_zero(const Gemm<T>& args) {
  for (int64_t i = 0; i < args.m; ++i) std::fill(args.c + i * args.ldc, args.c + i * args.ldc + args.n, T(0));
}

/// No terms or no elements: nothing to multiply.
template <typename T>
bool is_trivial(const Gemm<T>& args) {
  if (args.k == 0 && !args.accumulate) set_to_zero(args);
  if (args.k == 0) add_bias(args, 0, args.m, 0, args.n);
  return args.m == 0 || args.n == 0 || args.k == 0;
}

/// The step of so many pieces as `step` makes of `total`, all of about one size: a multiple of `unit`.
int64_t even_step(int64_t total, int64_t step, int64_t unit) {
  return round_up(divide_up(total, divide_up(total, step)), unit);
}

/// [begin, begin + size)
struct Range {
  int64_t begin, size;
};

/// [0, total) in pieces of `step`; an end of at most `smallest` is no piece of its own but part of the last
/// one.
struct Pieces {
  int64_t total, step, smallest = 0;

  int64_t count() const { return std::max<int64_t>(1, divide_up(total - smallest, step)); }
  Range operator[](int64_t piece) const {
    const int64_t begin = piece * step;
    return {begin, piece + 1 < count() ? step : total - begin};
  }
};

/// Columns in pieces of `step`, which whole panels fill. The last panels share a single vector
/// (vector::Tiling), which therefore does not stand alone.
template <typename T>
Pieces column_pieces(int64_t n, int64_t step) {
  return {.total = n, .step = step, .smallest = vector::loops<T>().tiling.lanes};
}

/// Columns of packed panels for n columns of b, and rows of packed tiles for m rows of a.
template <typename T>
int64_t padded_columns(int64_t n) {
  return round_up(n, vector::loops<T>().tiling.lanes);
}
template <typename T>
int64_t padded_rows(int64_t m) {
  return round_up(m, vector::loops<T>().tiling.rows);
}

/// Memory in a thread for the panels of a piece of at most block_n columns, or for the tiles of as many rows.
template <typename T>
struct PieceMemory {
  static constexpr int64_t most_lanes = 64 / sizeof(T);
  alignas(64) T data[block_k * (block_n + most_lanes)];
};

template <typename T>
void pack_b(const Gemm<T>& args, Range terms, Range columns, T* panels) {
  const int64_t k_step = args.transpose_b ? 1 : args.ldb, column_step = args.transpose_b ? args.ldb : 1;
  vector::loops<T>().tiling.pack_panels(args.b + terms.begin * k_step + columns.begin * column_step, k_step,
                                        column_step, terms.size, columns.size, panels);
}

/// Where the panels of some terms, from column n_begin on, stand in a b that is packed as a whole.
template <typename T>
int64_t place_in_factor(const Gemm<T>& args, Range terms, int64_t n_begin) {
  return terms.begin * padded_columns<T>(args.n) + n_begin * terms.size;
}

/// The panels of some terms and columns of b, packed into `memory` if they have not been packed before.
template <typename T>
const T* panels_of(const Gemm<T>& args, Range terms, Range columns, T* memory) {
  if (args.packed_b != nullptr) return args.packed_b + place_in_factor(args, terms, columns.begin);
  pack_b(args, terms, columns, memory);
  return memory;
}

/// Of a transposed a.
template <typename T>
void pack_a(const Gemm<T>& args, Range terms, Range rows, T* tiles) {
  vector::loops<T>().tiling.pack_tiles(args.a + terms.begin * args.lda + rows.begin, args.lda, terms.size,
                                       rows.size, tiles);
}

/// The contribution of at most block_k terms to some rows and columns of c, and the bias after the last
/// terms. `tiles`: the rows, if a is transposed.
template <typename T>
void multiply(const Gemm<T>& args, Range terms, Range rows, Range columns, const T* tiles, const T* panels) {
  const auto& tiling = vector::loops<T>().tiling;
  vector::PanelProduct<T> product{.a = args.a + rows.begin * args.lda + terms.begin,
                                  .tile_step = tiling.rows * args.lda,
                                  .row_step = args.lda,
                                  .k_step = 1,
                                  .m = rows.size,
                                  .k = terms.size,
                                  .ldc = args.ldc,
                                  .accumulate = args.accumulate || terms.begin > 0};
  if (args.transpose_a) {
    product.a = tiles;
    product.tile_step = tiling.rows * terms.size;
    product.row_step = 1;
    product.k_step = tiling.rows;
  }
  const Pieces pieces = column_pieces<T>(columns.size, block_n);
  for (int64_t i = 0; i < pieces.count(); ++i) {
    product.panels = panels + pieces[i].begin * terms.size;
    product.n = pieces[i].size;
    product.c = args.c + rows.begin * args.ldc + columns.begin + pieces[i].begin;
    tiling.multiply_panels(product);
  }
  if (terms.begin + terms.size == args.k) add_bias(args, rows.begin, rows.size, columns.begin, columns.size);
}

// What a thread packs it alone reads: to fetch a line that another core has just written takes longer than to
// pack it once more.

/// How c is cut into tasks where a is not transposed: each packs its panels, if they have not been packed
/// before.
template <typename T>
struct Tasks {
  Pieces rows, columns;
  /// Whether a thread has a share of the rows or of the columns. Rows are what it computed in the kernel
  /// before, but then each thread packs all columns.
  bool shares_rows;

  explicit Tasks(const Gemm<T>& args)
      : shares_rows(args.packed_b != nullptr || args.m >= rows_for_each_column * args.n) {
    const int64_t threads = omp_get_max_threads(), wanted = tasks_per_thread * threads;
    const int64_t fewest_rows = args.packed_b != nullptr ? block_m : rows_worth_packing;
    int64_t row_pieces = divide_up(args.m, fewest_rows);
    const int64_t step = divide_up(args.n, block_n) * row_pieces < wanted ? smallest_block_n : block_n;
    const auto& tiling = vector::loops<T>().tiling;
    columns = column_pieces<T>(args.n, even_step(args.n, step, tiling.columns));
    if (args.packed_b == nullptr) row_pieces = std::min(row_pieces, divide_up(wanted, columns.count()));
    if (shares_rows) row_pieces = round_up(row_pieces, threads);
    rows = {.total = args.m, .step = even_step(args.m, divide_up(args.m, row_pieces), tiling.rows)};
  }

  TaskGrid grid() const {
    const int64_t threads = omp_get_max_threads();
    return shares_rows ? TaskGrid(rows.count(), columns.count(), threads)
                       : TaskGrid(columns.count(), rows.count(), threads);
  }
  Range rows_of(TaskGrid::Task task) const { return rows[shares_rows ? task.row : task.column]; }
  Range columns_of(TaskGrid::Task task) const { return columns[shares_rows ? task.column : task.row]; }
};

/// a not transposed: its rows are read where they stand.
template <typename T>
void multiply_straight(const Gemm<T>& args) {
  const Tasks<T> tasks(args);
  TaskGrid grid = tasks.grid();
  const T* no_tiles = nullptr;
#pragma omp parallel if (grid.count() > 1)
  {
    PieceMemory<T> memory;
    for (int64_t k_begin = 0; k_begin < args.k; k_begin += block_k) {
      const Range terms{k_begin, std::min(block_k, args.k - k_begin)};
      while (const auto task = grid.next(omp_get_thread_num(), k_begin / block_k)) {
        const Range columns = tasks.columns_of(*task);
        multiply(args, terms, tasks.rows_of(*task), columns, no_tiles,
                 panels_of(args, terms, columns, memory.data));
      }
#pragma omp barrier  // the next terms are added to the same c
    }
  }
}

/// The pieces of the longer side of c, where a is transposed: rows or columns, a multiple of `unit` each.
Pieces pieces_of_longer_side(int64_t size, int64_t unit, int64_t smallest) {
  const int64_t wanted = tasks_per_thread * omp_get_max_threads();
  const int64_t step = std::clamp(round_up(divide_up(size, wanted), unit), unit, block_n);
  return {.total = size, .step = step, .smallest = smallest};
}

/// a transposed, as in the gradient of a weight: both factors are packed. The longer side of c is cut into
/// tasks, which pack their part of one factor; of the other factor each thread packs all.
template <typename T>
void multiply_transposed(const Gemm<T>& args) {
  const auto& tiling = vector::loops<T>().tiling;
  const bool cuts_rows = args.m >= args.n;
  const Pieces pieces = cuts_rows ? pieces_of_longer_side(args.m, tiling.rows, 0)
                                  : pieces_of_longer_side(args.n, tiling.columns, tiling.lanes);
  const int64_t threads = std::min<int64_t>(omp_get_max_threads(), pieces.count());
  const int64_t other_side = cuts_rows ? padded_columns<T>(args.n) : padded_rows<T>(args.m);
  const Tensor others = Tensor::empty({threads, std::min(args.k, block_k) * other_side}, dtype_of<T>());
  const Range all_rows{0, args.m}, all_columns{0, args.n};
  TaskGrid grid(pieces.count(), 1, threads);
#pragma omp parallel num_threads(threads)
  {
    PieceMemory<T> memory;
    T* other = others.data<T>() + omp_get_thread_num() * others.size(1);
    for (int64_t k_begin = 0; k_begin < args.k; k_begin += block_k) {
      const Range terms{k_begin, std::min(block_k, args.k - k_begin)};
      const T* all_panels = cuts_rows ? panels_of(args, terms, all_columns, other) : nullptr;
      if (!cuts_rows) pack_a(args, terms, all_rows, other);
      while (const auto task = grid.next(omp_get_thread_num(), k_begin / block_k)) {
        const Range piece = pieces[task->row];
        if (cuts_rows) {
          pack_a(args, terms, piece, memory.data);
          multiply(args, terms, piece, all_columns, memory.data, all_panels);
        } else {
          multiply(args, terms, all_rows, piece, other, panels_of(args, terms, piece, memory.data));
        }
      }
#pragma omp barrier  // the next terms are added to the same c
    }
  }
}

}  // namespace

template <typename T>
void add_bias(const Gemm<T>& args, int64_t begin, int64_t m, int64_t n_begin, int64_t n) {
  if (args.bias == nullptr) return;
  for (int64_t i = begin; i < begin + m; ++i) {
    T* row = args.c + i * args.ldc + n_begin;
    vector::loops<T>().add(row, args.bias + n_begin, row, n);
  }
}

template <typename T>
Tensor pack_factor(const Gemm<T>& args) {
  Tensor packed = Tensor::empty({args.k, padded_columns<T>(args.n)}, dtype_of<T>());
  const Pieces columns = column_pieces<T>(args.n, block_n);
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int64_t k_begin = 0; k_begin < args.k; k_begin += block_k) {
    for (int64_t i = 0; i < columns.count(); ++i) {
      const Range terms{k_begin, std::min(block_k, args.k - k_begin)};
      pack_b(args, terms, columns[i], packed.data<T>() + place_in_factor(args, terms, columns[i].begin));
    }
  }
  return packed;
}

template <typename T>
void gemm(const Gemm<T>& args) {
  if (is_trivial(args)) return;
  if (args.transpose_a) {
    multiply_transposed(args);
  } else {
    multiply_straight(args);
  }
}

template <typename T>
void gemm_in_thread(const Gemm<T>& args) {
  if (is_trivial(args)) return;
  PieceMemory<T> panels;
  alignas(64) T tiles[block_k * block_m];
  const Pieces columns = column_pieces<T>(args.n, block_n), rows{.total = args.m, .step = block_m};
  for (int64_t k_begin = 0; k_begin < args.k; k_begin += block_k) {
    const Range terms{k_begin, std::min(block_k, args.k - k_begin)};
    for (int64_t j = 0; j < columns.count(); ++j) {
      pack_b(args, terms, columns[j], panels.data);
      for (int64_t i = 0; i < rows.count(); ++i) {
        if (args.transpose_a) pack_a(args, terms, rows[i], tiles);
        multiply(args, terms, rows[i], columns[j], tiles, panels.data);
      }
    }
  }
}

template void add_bias(const Gemm<float>&, int64_t, int64_t, int64_t, int64_t);
template void add_bias(const Gemm<double>&, int64_t, int64_t, int64_t, int64_t);
template Tensor pack_factor(const Gemm<float>&);
template Tensor pack_factor(const Gemm<double>&);
template void gemm(const Gemm<float>&);
template void gemm(const Gemm<double>&);
template void gemm_in_thread(const Gemm<float>&);
template void gemm_in_thread(const Gemm<double>&);

}  // namespace normtune
