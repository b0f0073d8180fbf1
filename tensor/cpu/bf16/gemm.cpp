#include "tensor/cpu/bf16/gemm.h"

#include <omp.h>

#include <algorithm>

#include "tensor/cpu/bf16/packed.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/task_grid.h"
#include "tensor/cpu/vector/dispatch.h"

namespace normtune::bf16 {
namespace {

// Rows and columns of c that one thread computes at a time: their packed factors stay in the second-level
// cache. Fewer rows where there would not be work for all threads.
constexpr int64_t block_m = 256, block_n = 256, smallest_block_m = 64;
// Tasks for each thread, so that none waits long for the slowest.
constexpr int64_t tasks_per_thread = 2;
// Terms of one pass over c: so many of a group of columns stay in the first-level cache for all groups of
// rows.
constexpr int64_t block_k = 384;
// Lines that a thread packs at a time where those of one term are contiguous.
constexpr int64_t lines_side_by_side = 8 * group_lines;
// From here on c is too large to be in the caches when it is read again: it is written past them.
constexpr int64_t streamed_elements = 2 << 20;

/// Memory for a packed factor: two elements in each float32.
Tensor packed_memory(int64_t lines, int64_t terms) {
  return Tensor::empty({packed_elements(lines, terms) / 2}, DType::float32);
}

/// A packed factor: for each block_k terms all its lines. Element: uint16_t, or const.
template <typename Element>
struct Packed {
  Element* begin;
  int64_t lines, terms;

  int64_t terms_of_block(int64_t term) const { return std::min(block_k, terms - term); }
  /// Where the lines from `line` in the block of terms from `term` begin.
  Element* at(int64_t line, int64_t term) const {
    return begin + packed_elements(lines, term) + packed_elements(line, terms_of_block(term));
  }
};

/// Memory for the sums of a block in each thread, where c is written past the caches.
Tensor memory_of_sums(const Gemm<float>& args) {
  if (args.accumulate || args.m * args.n < streamed_elements) return {};
  return Tensor::empty({omp_get_max_threads(), block_m * block_n}, DType::float32);
}

/// How c is cut into tasks: by rows, and where they are few by columns as well.
struct Tasks {
  int64_t m, n, step_m, step_n;

  Tasks(int64_t rows, int64_t columns) : m(rows), n(columns) {
    const int64_t wanted = tasks_per_thread * omp_get_max_threads();
    step_m = std::clamp(round_up(divide_up(m, wanted), group_lines), smallest_block_m, block_m);
    step_n = round_up(divide_up(n, divide_up(wanted, row_pieces())), group_lines);
  }

  int64_t row_pieces() const { return divide_up(m, step_m); }
  int64_t column_pieces() const { return divide_up(n, step_n); }
  int64_t count() const { return row_pieces() * column_pieces(); }
};

/// Packs rows [begin, begin + packed.lines) of a.
void pack_rows(const Gemm<float>& args, int64_t begin, const Packed<uint16_t>& packed) {
  const int64_t row_step = args.transpose_a ? 1 : args.lda, term_step = args.transpose_a ? args.lda : 1;
  for (int64_t term = 0; term < args.k; term += block_k) {
    pack_a({.data = args.a + begin * row_step + term * term_step,
            .line_step = row_step,
            .term_step = term_step,
            .lines = packed.lines,
            .terms = packed.terms_of_block(term)},
           packed.at(0, term));
  }
}

/// c for rows [i, i + a.lines), which are packed, and columns [j, j + n). `sums`: memory_of_sums() of a
/// thread.
void multiply_block(const Instructions& instructions, const Gemm<float>& args, int64_t i,
                    const Packed<uint16_t>& a, int64_t j, int64_t n, const Packed<const uint16_t>& b,
                    float* sums) {
  Product product{.m = a.lines, .n = n, .c = args.c + i * args.ldc + j, .ldc = args.ldc, .sums = sums};
  if (sums != nullptr && args.bias != nullptr) product.bias = args.bias + j;
  for (int64_t term = 0; term < args.k; term += block_k) {
    product.a = a.at(0, term);
    product.b = b.at(j, term);
    product.terms = a.terms_of_block(term);
    product.accumulate = args.accumulate || term > 0;
    product.last_terms = term + block_k >= args.k;
    instructions.multiply(product);
  }
  if (sums == nullptr) add_bias(args, i, a.lines, j, n);
}

/// Each task packs its rows of a for itself: to fetch a line that another core has just written takes longer.
void multiply_blocks(const Instructions& instructions, const Gemm<float>& args, const float* packed_b) {
  const Packed<const uint16_t> b{reinterpret_cast<const uint16_t*>(packed_b), args.n, args.k};
  const Tasks tasks(args.m, args.n);
  const int64_t threads = std::min<int64_t>(omp_get_max_threads(), tasks.count());
  const Tensor sums = memory_of_sums(args), rows = packed_memory(threads * tasks.step_m, args.k);
  TaskGrid grid(tasks.row_pieces(), tasks.column_pieces(), threads);
#pragma omp parallel num_threads(threads)
  {
    const int64_t thread = omp_get_thread_num();
    uint16_t* rows_of_thread =
        reinterpret_cast<uint16_t*>(rows.data<float>()) + thread * packed_elements(tasks.step_m, args.k);
    float* sums_of_thread = sums.defined() ? sums.data<float>() + thread * block_m * block_n : nullptr;
    while (const auto task = grid.next(thread)) {
      const int64_t i = task->row * tasks.step_m, begin = task->column * tasks.step_n;
      const Packed<uint16_t> a{rows_of_thread, std::min(tasks.step_m, args.m - i), args.k};
      pack_rows(args, i, a);
      const int64_t end = std::min(begin + tasks.step_n, args.n);
      for (int64_t j = begin; j < end; j += block_n) {
        multiply_block(instructions, args, i, a, j, std::min(block_n, end - j), b, sums_of_thread);
      }
    }
  }
}

float rounded(float value) {
  return static_cast<float>(bfloat16(value));
}

/// A contiguous copy of a matrix [rows, columns], rounded.
Tensor rounded_copy(const float* data, int64_t rows, int64_t columns, int64_t ld) {
  Tensor copy = Tensor::empty({rows, columns}, DType::float32);
  parallel_rows(rows, columns, [&](int64_t row) {
    std::transform(data + row * ld, data + row * ld + columns, copy.data<float>() + row * columns, rounded);
  });
  return copy;
}

/// Replaces b of `product` by a rounded copy, which is returned.
Tensor round_right_factor(Gemm<float>& product) {
  const int64_t rows = product.transpose_b ? product.n : product.k;
  const int64_t columns = product.transpose_b ? product.k : product.n;
  Tensor copy = rounded_copy(product.b, rows, columns, product.ldb);
  product.b = copy.data<float>();
  product.ldb = columns;
  return copy;
}

Tensor packed_right_factor(const Gemm<float>& args) {
  Tensor memory = packed_memory(args.n, args.k);
  const Packed<uint16_t> packed{reinterpret_cast<uint16_t*>(memory.data<float>()), args.n, args.k};
  const int64_t column_step = args.transpose_b ? args.ldb : 1, term_step = args.transpose_b ? 1 : args.ldb;
  const int64_t columns = args.transpose_b ? group_lines : lines_side_by_side;
  const int64_t pieces = divide_up(args.n, columns);
  parallel_pieces(divide_up(args.k, block_k) * pieces, 1, [&](int64_t piece, int64_t) {
    const int64_t column = piece % pieces * columns, term = piece / pieces * block_k;
    pack_b({.data = args.b + column * column_step + term * term_step,
            .line_step = column_step,
            .term_step = term_step,
            .lines = std::min(columns, args.n - column),
            .terms = packed.terms_of_block(term)},
           packed.at(column, term));
  });
  return memory;
}

void gemm_with(const Instructions& instructions, const Gemm<float>& args) {
  const Tensor b = args.packed_b == nullptr ? packed_right_factor(args) : Tensor();
  multiply_blocks(instructions, args, b.defined() ? b.data<float>() : args.packed_b);
}

void gemm_of_rounded(const Gemm<float>& args) {
  const int64_t a_rows = args.transpose_a ? args.k : args.m, a_columns = args.transpose_a ? args.m : args.k;
  const Tensor a = rounded_copy(args.a, a_rows, a_columns, args.lda);
  Gemm<float> product = args;
  product.a = a.data<float>();
  product.lda = a_columns;
  if (args.packed_b != nullptr) return normtune::gemm(product);
  const Tensor rounded_b = round_right_factor(product);
  normtune::gemm(product);
}

}  // namespace

int64_t packed_elements(int64_t lines, int64_t terms) {
  return divide_up(lines, group_lines) * divide_up(terms, tile_terms) * group_elements;
}

Tensor pack_factor(const Gemm<float>& args) {
  if (instructions() != nullptr) return packed_right_factor(args);
  Gemm<float> product = args;
  const Tensor rounded_b = round_right_factor(product);
  return normtune::pack_factor(product);
}

void gemm(const Gemm<float>& args) {
  const bool trivial = args.m == 0 || args.n == 0 || args.k == 0;
  if (instructions() != nullptr && !trivial) {
    gemm_with(*instructions(), args);
  } else {
    gemm_of_rounded(args);
  }
}

}  // namespace normtune::bf16
