#include "tensor/cpu/bf16/gemm.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sys/syscall.h>
#include <unistd.h>

#include <omp.h>

#include <algorithm>
#include <bit>

#include "tensor/cpu/parallel.h"

namespace normtune::bf16 {
namespace {

// Rows and columns of c that one thread computes at a time: their packed factors stay in the second-level
// cache.
constexpr int64_t block_m = 256, block_n = 256;
// Terms of one pass over c: so many of a group of columns stay in the first-level cache for all groups of
// rows.
constexpr int64_t block_k = 384;
// Lines that a thread packs at a time where those of one term are contiguous.
constexpr int64_t lines_side_by_side = 8 * group_lines;
// From here on c is too large to be in the caches when it is read again: it is written past them.
constexpr int64_t streamed_elements = 2 << 20;

int64_t divide_up(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

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

/// Packs a factor into memory of its size.
template <typename Pack>
void pack_all(const Lines& source, const Tensor& memory, const Pack& pack) {
  const Packed<uint16_t> packed{reinterpret_cast<uint16_t*>(memory.data<float>()), source.lines,
                                source.terms};
  const int64_t lines = source.term_step == 1 ? group_lines : lines_side_by_side;
  const int64_t pieces = divide_up(source.lines, lines);
  parallel_pieces(divide_up(source.terms, block_k) * pieces, 1, [&](int64_t piece, int64_t) {
    const int64_t line = piece % pieces * lines, term = piece / pieces * block_k;
    pack(Lines{.data = source.data + line * source.line_step + term * source.term_step,
               .line_step = source.line_step,
               .term_step = source.term_step,
               .lines = std::min(lines, source.lines - line),
               .terms = packed.terms_of_block(term)},
         packed.at(line, term));
  });
}

/// Memory for the sums of a block in each thread, where c is written past the caches.
Tensor memory_of_sums(const Gemm<float>& args) {
  if (args.accumulate || args.m * args.n < streamed_elements) return {};
  return Tensor::empty({omp_get_max_threads(), block_m * block_n}, DType::float32);
}

void multiply_blocks(const Instructions& instructions, const Gemm<float>& args, const float* packed_a,
                     const float* packed_b) {
  const Packed<const uint16_t> a{reinterpret_cast<const uint16_t*>(packed_a), args.m, args.k};
  const Packed<const uint16_t> b{reinterpret_cast<const uint16_t*>(packed_b), args.n, args.k};
  const Tensor sums = memory_of_sums(args);
  const int64_t row_blocks = divide_up(args.m, block_m), blocks = row_blocks * divide_up(args.n, block_n);
#pragma omp parallel for schedule(dynamic) if (blocks > 1)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t i = block % row_blocks * block_m, j = block / row_blocks * block_n;
    const int64_t m = std::min(block_m, args.m - i), n = std::min(block_n, args.n - j);
    Product product{.m = m, .n = n, .c = args.c + i * args.ldc + j, .ldc = args.ldc};
    if (sums.defined()) product.sums = sums.data<float>() + omp_get_thread_num() * block_m * block_n;
    if (sums.defined() && args.bias != nullptr) product.bias = args.bias + j;
    for (int64_t term = 0; term < args.k; term += block_k) {
      product.a = a.at(i, term);
      product.b = b.at(j, term);
      product.terms = a.terms_of_block(term);
      product.accumulate = args.accumulate || term > 0;
      product.last_terms = term + block_k >= args.k;
      instructions.multiply(product);
    }
    if (!sums.defined()) add_bias(args, i, m, j, n);
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
  Tensor packed = packed_memory(args.n, args.k);
  pack_all({.data = args.b,
            .line_step = args.transpose_b ? args.ldb : 1,
            .term_step = args.transpose_b ? 1 : args.ldb,
            .lines = args.n,
            .terms = args.k},
           packed, pack_b);
  return packed;
}

#if defined(__x86_64__)
/// Bits of cpuid's leaf 7.
bool processor_has_tiles() {
  constexpr unsigned amx_bf16 = 1U << 22, amx_tile = 1U << 24;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & amx_bf16) != 0 && (d & amx_tile) != 0;
}

bool processor_has_pairs() {
  constexpr unsigned avx512_bf16 = 1U << 5;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & avx512_bf16) != 0;
}
#endif

}  // namespace

int64_t packed_elements(int64_t lines, int64_t terms) {
  return divide_up(lines, group_lines) * divide_up(terms, tile_terms) * group_elements;
}

bool has_tiles() {
#if defined(__x86_64__)
  // The system hands out the tiles' registers only to processes that ask: ARCH_REQ_XCOMP_PERM,
  // XFEATURE_XTILEDATA.
  static const bool available = tiles.multiply != nullptr && has_pairs() && processor_has_tiles() &&
                                syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return available;
#else
  return false;
#endif
}

bool has_pairs() {
#if defined(__x86_64__)
  static const bool available = pairs.multiply != nullptr && processor_has_pairs();
  return available;
#else
  return false;
#endif
}

const Instructions* fastest_instructions() {
  if (has_tiles()) return &tiles;
  return has_pairs() ? &pairs : nullptr;
}

void gemm_with(const Instructions& instructions, const Gemm<float>& args) {
  const Tensor a = packed_memory(args.m, args.k);
  pack_all({.data = args.a,
            .line_step = args.transpose_a ? 1 : args.lda,
            .term_step = args.transpose_a ? args.lda : 1,
            .lines = args.m,
            .terms = args.k},
           a, pack_a);
  const Tensor b = args.packed_b == nullptr ? packed_right_factor(args) : Tensor();
  multiply_blocks(instructions, args, a.data<float>(), b.defined() ? b.data<float>() : args.packed_b);
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

Tensor pack_factor(const Gemm<float>& args) {
  if (fastest_instructions() != nullptr) return packed_right_factor(args);
  Gemm<float> product = args;
  const Tensor rounded_b = round_right_factor(product);
  return normtune::pack_factor(product);
}

void gemm(const Gemm<float>& args) {
  const bool trivial = args.m == 0 || args.n == 0 || args.k == 0;
  const Instructions* instructions = fastest_instructions();
  if (instructions != nullptr && !trivial) {
    gemm_with(*instructions, args);
  } else {
    gemm_of_rounded(args);
  }
}

}  // namespace normtune::bf16
