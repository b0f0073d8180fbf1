// Part of loops.cpp: the matrix product c (+)= a b. Each element of c is a sum over k in one fixed order,
// however c is cut into tiles: its bits depend neither on the number of threads nor on the other rows of a
// batch.

// Rows of the tiles that are two and three vectors wide: the sums of a tile of c fill 24 of the 32 registers
// that AVX-512 has, 12 of 16 elsewhere.
#if defined(__AVX512F__)
constexpr int narrow_rows = 12, wide_rows = 8;
#else
constexpr int narrow_rows = 6, wide_rows = 4;
#endif

template <typename T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(vector_bytes)));
  typedef T Unaligned __attribute__((vector_size(vector_bytes), aligned(alignof(T)), may_alias));
};

/// Panels `width` columns wide.
template <typename T, int64_t width>
void pack_panels(const T* b, int64_t k_step, int64_t column_step, int64_t k, int64_t n, T* packed) {
  for (int64_t begin = 0; begin < n; begin += width, packed += k * width) {
    const T* panel = b + begin * column_step;
    const int64_t columns = n - begin < width ? n - begin : width;
    for (int64_t l = 0; l < k; ++l) {
      T* row = packed + l * width;
      if (columns == width && column_step == 1) {
        __builtin_memcpy(row, panel + l * k_step, sizeof(T) * width);
      } else if (columns == width && k_step == 1) {
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) row[j] = panel[l + j * column_step];
      } else {
        for (int64_t j = 0; j < width; ++j) row[j] = j < columns ? panel[l * k_step + j * column_step] : T(0);
      }
    }
  }
}

template <typename T, int tile_rows>
void pack_tiles(const T* a, int64_t k_step, int64_t k, int64_t m, T* packed) {
  for (int64_t l = 0; l < k; ++l) {
    const T* row = a + l * k_step;
    T* tile = packed + l * tile_rows;
    int64_t i = 0;
    for (; i + tile_rows <= m; i += tile_rows, tile += k * tile_rows) {
      __builtin_memcpy(tile, row + i, sizeof(T) * tile_rows);
    }
    for (int64_t rest = 0; i + rest < m; ++rest) tile[rest] = row[i + rest];
  }
}

/// c (+)= a b for a tile of `rows` rows and at most `vectors` vectors of columns. Element (i, l) of a lies at
/// i * row_step + l * k_step.
template <typename T, int rows, int vectors, bool accumulate>
void multiply_tile(const T* a, int64_t row_step, int64_t k_step, const T* panel, int64_t k, T* c, int64_t ldc,
                   int64_t columns) {
  constexpr int64_t width = vectors * lanes<T>;
  typename VectorOf<T>::Type sums[rows][vectors] = {};
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i) {
    __builtin_prefetch(c + i * ldc);
    __builtin_prefetch(c + i * ldc + width / 2);
    __builtin_prefetch(c + i * ldc + width - 1);
  }
#pragma GCC unroll 4
  for (int64_t l = 0; l < k; ++l, a += k_step, panel += width) {
    const auto* row = reinterpret_cast<const typename VectorOf<T>::Unaligned*>(panel);
    typename VectorOf<T>::Type b[vectors];
#pragma GCC unroll 3
    for (int v = 0; v < vectors; ++v) b[v] = row[v];
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
      const T factor = a[i * row_step];
#pragma GCC unroll 3
      for (int v = 0; v < vectors; ++v) sums[i][v] += factor * b[v];
    }
  }
  const bool whole = columns == width;
  T edge[rows * width];  // a tile that overlaps the right edge of c goes through here
  T* target = whole ? c : edge;
  const int64_t target_ld = whole ? ldc : width;
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i) {
    auto* row = reinterpret_cast<typename VectorOf<T>::Unaligned*>(target + i * target_ld);
#pragma GCC unroll 3
    for (int v = 0; v < vectors; ++v) row[v] = accumulate && whole ? row[v] + sums[i][v] : sums[i][v];
  }
  if (whole) return;
  for (int i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const T value = edge[i * target_ld + j];
      c[i * ldc + j] = accumulate ? c[i * ldc + j] + value : value;
    }
  }
}

/// multiply_tile with a number of rows that is known at run time only: `count`, at most `rows`.
template <typename T, int vectors, bool accumulate, int rows>
void multiply_rows(int64_t count, const T* a, int64_t row_step, int64_t k_step, const T* panel, int64_t k,
                   T* c, int64_t ldc, int64_t columns) {
  if constexpr (rows > 0) {
    if (count == rows) {
      multiply_tile<T, rows, vectors, accumulate>(a, row_step, k_step, panel, k, c, ldc, columns);
    } else {
      multiply_rows<T, vectors, accumulate, rows - 1>(count, a, row_step, k_step, panel, k, c, ldc, columns);
    }
  }
}

template <typename T, int tile_rows, int vectors>
void multiply_panels(const PanelProduct<T>& args) {
  constexpr int64_t width = vectors * lanes<T>;
  const T* panel = args.panels;
  for (int64_t j = 0; j < args.n; j += width, panel += args.k * width) {
    const int64_t columns = args.n - j < width ? args.n - j : width;
    const T* a = args.a;
    for (int64_t i = 0; i < args.m; i += tile_rows, a += args.tile_step) {
      const int64_t rows = args.m - i < tile_rows ? args.m - i : tile_rows;
      const auto multiply = args.accumulate ? multiply_rows<T, vectors, true, tile_rows>
                                            : multiply_rows<T, vectors, false, tile_rows>;
      multiply(rows, a, args.row_step, args.k_step, panel, args.k, args.c + i * args.ldc + j, args.ldc,
               columns);
    }
  }
}

template <typename T, int tile_rows, int vectors>
constexpr Tiling<T> make_tiling() {
  constexpr int64_t width = vectors * lanes<T>;
  return {tile_rows, width, pack_panels<T, width>, pack_tiles<T, tile_rows>,
          multiply_panels<T, tile_rows, vectors>};
}
