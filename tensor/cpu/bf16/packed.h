#pragma once

#include <cstdint>

/// Matrix products in bfloat16 (8 bits of significand, the exponent of float32) by processors that have
/// instructions for them. Factors are packed in tiles, what AMX multiplies at once: 16 lines (rows of a,
/// columns of b) of 32 terms; a tile of c is 16 x 16 float32.
namespace normtune::bf16 {

constexpr int64_t tile_lines = 16, tile_terms = 32, tile_elements = tile_lines * tile_terms;
/// Two tiles of lines are worked on together, so that each tile that is loaded serves twice.
constexpr int64_t group_lines = 2 * tile_lines, group_elements = 2 * tile_elements;

/// `lines` lines of `terms` float32 each. One of the steps is 1.
struct Lines {
  const float* data;
  int64_t line_step, term_step;
  int64_t lines, terms;
};

/// Rounds to bfloat16 (to nearest, ties to even) and packs in the order that multiply() reads: groups of 32
/// lines; in a group steps of 32 terms; in a step two tiles. What is missing at the ends is zero. In a tile
/// of a, the lines stand below each other; in a tile of b, pairs of terms do, and each holds the pair of
/// every line.
void pack_a(const Lines& rows, uint16_t* packed);
void pack_b(const Lines& columns, uint16_t* packed);

/// Elements that packing takes.
int64_t packed_elements(int64_t lines, int64_t terms);

/// c [m, n] (+)= a b of packed factors with `terms` terms, in float32; rows of c are ldc apart. Each element
/// of c is summed in one fixed order.
struct Product {
  const uint16_t* a = nullptr;
  const uint16_t* b = nullptr;
  int64_t m = 0, n = 0, terms = 0;
  float* c = nullptr;
  int64_t ldc = 0;
  bool accumulate = false;
  /// Not null: what is accumulated is kept here, in groups of 32 x 32, and c is written with the last terms
  /// alone, with the bias added ([n], or null). It is written past the caches, because a line that is in none
  /// of them would be read before it is written.
  float* sums = nullptr;
  const float* bias = nullptr;
  bool last_terms = false;
};

/// The instructions of one kind of processor.
struct Instructions {
  void (*multiply)(const Product& args);
  /// Multiply-adds on factors that are loaded already; returns their number of floating-point operations.
  double (*multiply_adds)(int64_t iterations);
};
extern const Instructions tiles;  ///< AMX: a tile times a tile
extern const Instructions pairs;  ///< AVX-512 with bfloat16: the sum of two products in each of 16 elements

}  // namespace normtune::bf16
