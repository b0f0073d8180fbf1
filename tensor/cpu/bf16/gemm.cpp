#include "tensor/cpu/bf16/gemm.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "tensor/cpu/parallel.h"

namespace normtune::bf16 {
namespace {

// Rows and columns of c that one thread computes at a time: their packed factors stay in the second-level
// cache.
constexpr int64_t block_m = 256, block_n = 256;
// Terms of one pass over c, which fixes the order of the sum.
constexpr int64_t block_k = 1024;

int64_t divide_up(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

/// A factor, packed: for each block_k terms all its lines.
struct Packed {
  Tensor memory;  // two elements in each float32
  int64_t lines, terms;

  Packed(int64_t num_lines, int64_t num_terms)
      : memory(Tensor::empty({packed_elements(num_lines, num_terms) / 2}, DType::float32)),
        lines(num_lines),
        terms(num_terms) {}
  int64_t terms_of_block(int64_t term) const { return std::min(block_k, terms - term); }
  /// Where the lines from `line` in the block of terms from `term` begin.
  uint16_t* at(int64_t line, int64_t term) const {
    auto* begin = reinterpret_cast<uint16_t*>(memory.data<float>());
    return begin + packed_elements(lines, term) + packed_elements(line, terms_of_block(term));
  }
};

template <typename Pack>
void pack_all(const Lines& source, const Packed& packed, const Pack& pack) {
  const int64_t groups = divide_up(source.lines, group_lines);
  parallel_pieces(divide_up(source.terms, block_k) * groups, 1, [&](int64_t piece, int64_t) {
    const int64_t line = piece % groups * group_lines, term = piece / groups * block_k;
    pack(Lines{.data = source.data + line * source.line_step + term * source.term_step,
               .line_step = source.line_step,
               .term_step = source.term_step,
               .lines = std::min(group_lines, source.lines - line),
               .terms = packed.terms_of_block(term)},
         packed.at(line, term));
  });
}

void multiply_blocks(const Instructions& instructions, const Gemm<float>& args, const Packed& a,
                     const Packed& b) {
  const int64_t row_blocks = divide_up(args.m, block_m), blocks = row_blocks * divide_up(args.n, block_n);
#pragma omp parallel for schedule(dynamic) if (blocks > 1)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t i = block % row_blocks * block_m, j = block / row_blocks * block_n;
    const int64_t m = std::min(block_m, args.m - i), n = std::min(block_n, args.n - j);
    for (int64_t term = 0; term < args.k; term += block_k) {
      instructions.multiply({.a = a.at(i, term),
                             .b = b.at(j, term),
                             .m = m,
                             .n = n,
                             .terms = a.terms_of_block(term),
                             .c = args.c + i * args.ldc + j,
                             .ldc = args.ldc,
                             .accumulate = args.accumulate || term > 0});
    }
    add_bias(args, i, m, j, n);
  }
}

#define NORMTUNE_INLINE static inline
#include "tensor/formulas/bfloat16.h"
#undef NORMTUNE_INLINE

float rounded(float value) {
  return std::bit_cast<float>(uint32_t{to_bfloat16(value)} << 16);
}

/// A contiguous copy of a matrix [rows, columns], rounded.
Tensor rounded_copy(const float* data, int64_t rows, int64_t columns, int64_t ld) {
  Tensor copy = Tensor::empty({rows, columns}, DType::float32);
  parallel_rows(rows, columns, [&](int64_t row) {
    std::transform(data + row * ld, data + row * ld + columns, copy.data<float>() + row * columns, rounded);
  });
  return copy;
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
  const Packed a(args.m, args.k), b(args.n, args.k);
  pack_all({.data = args.a,
            .line_step = args.transpose_a ? 1 : args.lda,
            .term_step = args.transpose_a ? args.lda : 1,
            .lines = args.m,
            .terms = args.k},
           a, pack_a);
  pack_all({.data = args.b,
            .line_step = args.transpose_b ? args.ldb : 1,
            .term_step = args.transpose_b ? 1 : args.ldb,
            .lines = args.n,
            .terms = args.k},
           b, pack_b);
  multiply_blocks(instructions, args, a, b);
}

void gemm_of_rounded(const Gemm<float>& args) {
  const int64_t a_rows = args.transpose_a ? args.k : args.m, a_columns = args.transpose_a ? args.m : args.k;
  const int64_t b_rows = args.transpose_b ? args.n : args.k, b_columns = args.transpose_b ? args.k : args.n;
  const Tensor a = rounded_copy(args.a, a_rows, a_columns, args.lda);
  const Tensor b = rounded_copy(args.b, b_rows, b_columns, args.ldb);
  Gemm<float> product = args;
  product.a = a.data<float>();
  product.lda = a_columns;
  product.b = b.data<float>();
  product.ldb = b_columns;
  normtune::gemm(product);
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
