// Part of tiles.cpp and pairs.cpp, included inside their namespace: cuts c into groups of 32 x 32 elements,
// which their multiply_group() computes.

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
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) c[i * ldc + j] = edge[i * group_lines + j];
  }
}

void multiply_groups(const Product& args) {
  const int64_t steps = (args.terms + tile_terms - 1) / tile_terms;
  for (int64_t j = 0; j < args.n; j += group_lines) {
    const uint16_t* b = args.b + j / group_lines * steps * group_elements;
    const int64_t columns = args.n - j < group_lines ? args.n - j : group_lines;
    for (int64_t i = 0; i < args.m; i += group_lines) {
      const uint16_t* a = args.a + i / group_lines * steps * group_elements;
      const int64_t rows = args.m - i < group_lines ? args.m - i : group_lines;
      float* c = args.c + i * args.ldc + j;
      if (rows == group_lines && columns == group_lines) {
        multiply_group(a, b, steps, c, args.ldc, args.accumulate);
      } else {
        multiply_edge(a, b, steps, c, args.ldc, rows, columns, args.accumulate);
      }
    }
  }
}
