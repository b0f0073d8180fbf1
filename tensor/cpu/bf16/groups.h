// Part of tiles.cpp and pairs.cpp, included inside their namespace: cuts c into groups of 32 x 32 elements,
// which their multiply_group() computes.

/// Writes the sums of a group to c, with the bias added if there is one; past the caches if that is wanted,
/// as far as they fill its lines.
void write_group(const float* sums, const float* bias, float* c, int64_t ldc, int64_t rows, int64_t columns,
                 bool past_caches) {
  for (int64_t j = 0; j < columns; j += tile_lines) {
    const int64_t left = columns - j;
    const auto mask = static_cast<__mmask16>(left < tile_lines ? (1U << left) - 1 : 0xFFFF);
    const bool streams =
        past_caches && left >= tile_lines && reinterpret_cast<uintptr_t>(c + j) % 64 == 0 && ldc % 16 == 0;
    const __m512 added = bias == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, bias + j);
    for (int64_t i = 0; i < rows; ++i) {
      const __m512 loaded = _mm512_load_ps(sums + i * group_lines + j);
      const __m512 values = bias == nullptr ? loaded : _mm512_add_ps(loaded, added);
      if (streams) {
        _mm512_stream_ps(c + i * ldc + j, values);
      } else {
        _mm512_mask_storeu_ps(c + i * ldc + j, mask, values);
      }
    }
  }
}

/// A group at the edge of c goes through a buffer of its own.
void multiply_edge(const uint16_t* a, const uint16_t* b, int64_t steps, float* c, int64_t ldc, int64_t rows,
                   int64_t columns, bool accumulate) {
  alignas(64) float edge[group_lines * group_lines] = {};
  if (accumulate) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) edge[i * group_lines + j] = c[i * ldc + j];
    }
  }
  multiply_group(a, b, steps, edge, group_lines, accumulate);
  write_group(edge, /*bias=*/nullptr, c, ldc, rows, columns, /*past_caches=*/false);
}

void multiply_groups(const Product& args) {
  const int64_t steps = (args.terms + tile_terms - 1) / tile_terms;
  float* sums = args.sums;
  for (int64_t j = 0; j < args.n; j += group_lines) {
    const uint16_t* b = args.b + j / group_lines * steps * group_elements;
    const int64_t columns = args.n - j < group_lines ? args.n - j : group_lines;
    for (int64_t i = 0; i < args.m; i += group_lines) {
      const uint16_t* a = args.a + i / group_lines * steps * group_elements;
      const int64_t rows = args.m - i < group_lines ? args.m - i : group_lines;
      float* c = args.c + i * args.ldc + j;
      if (sums != nullptr) {
        multiply_group(a, b, steps, sums, group_lines, args.accumulate);
        const float* bias = args.bias == nullptr ? nullptr : args.bias + j;
        if (args.last_terms) write_group(sums, bias, c, args.ldc, rows, columns, /*past_caches=*/true);
        sums += group_lines * group_lines;
      } else if (rows == group_lines && columns == group_lines) {
        multiply_group(a, b, steps, c, args.ldc, args.accumulate);
      } else {
        multiply_edge(a, b, steps, c, args.ldc, rows, columns, args.accumulate);
      }
    }
  }
  _mm_sfence();  // other threads read what was written past the caches
}
