// Compiled for processors with AMX. Includes no header with inline functions (tensor/cpu/vector/loops.cpp
// says why).
#include "tensor/cpu/bf16/packed.h"

#if defined(__AMX_BF16__)
#include <immintrin.h>

namespace normtune::bf16 {
namespace {

/// Every tile is 16 rows of 64 bytes.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

constexpr TileConfiguration configuration;

/// g++'s tile instructions do not tell the compiler that they read memory: everything must have been written
/// by here.
inline void finish_writes() {
  __asm__ volatile("" ::: "memory");
}

/// c [32, 32] (+)= a group of rows x a group of columns.
void multiply_group(const uint16_t* a, const uint16_t* b, int64_t steps, float* c, int64_t ldc,
                    bool accumulate) {
  const int64_t row_bytes = ldc * static_cast<int64_t>(sizeof(float));
  float* below = c + tile_lines * ldc;
  finish_writes();
  if (accumulate) {
    _tile_loadd(0, c, row_bytes);
    _tile_loadd(1, c + tile_lines, row_bytes);
    _tile_loadd(2, below, row_bytes);
    _tile_loadd(3, below + tile_lines, row_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t step = 0; step < steps; ++step, a += group_elements, b += group_elements) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + tile_elements, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a + tile_elements, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, row_bytes);
  _tile_stored(1, c + tile_lines, row_bytes);
  _tile_stored(2, below, row_bytes);
  _tile_stored(3, below + tile_lines, row_bytes);
}

#include "tensor/cpu/bf16/groups.h"

void multiply(const Product& args) {
  _tile_loadconfig(&configuration);
  multiply_groups(args);
  _tile_release();
}

double multiply_adds(int64_t iterations) {
  _tile_loadconfig(&configuration);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (int64_t i = 0; i < iterations; ++i) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
  return 4 * 2.0 * tile_lines * tile_lines * tile_terms * static_cast<double>(iterations);
}

}  // namespace

extern const Instructions tiles{multiply, multiply_adds};

}  // namespace normtune::bf16

#else

namespace normtune::bf16 {
extern const Instructions tiles{};
}

#endif
