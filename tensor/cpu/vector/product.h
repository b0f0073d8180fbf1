// Part of loops.cpp: the matrix product c (+)= a b. Each element of c is a sum over k in one fixed order,
// however c is cut into tiles: its bits depend neither on the number of threads nor on the other rows of a
// batch.

#if defined(__AVX512F__)
constexpr int tile_rows = 12;  // a tile of c fills 24 of 32 registers
#else
constexpr int tile_rows = 6;  // 12 of 16 registers
#endif

template <typename T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(vector_bytes)));
  typedef T Unaligned __attribute__((vector_size(vector_bytes), aligned(alignof(T)), may_alias));
};

/// A tile of c is tile_rows x two vectors.
template <typename T>
constexpr int64_t tile_columns = 2 * lanes<T>;

template <typename T>
void pack_panels(const T* b, int64_t k_step, int64_t column_step, int64_t k, int64_t n, T* packed) {
  constexpr int64_t width = tile_columns<T>;
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

template <typename T>
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

/// c (+)= a b for a tile of `rows` rows and at most tile_columns columns. Element (i, l) of a lies at
/// i * row_step + l * k_step.
template <typename T, int rows, bool accumulate>
void multiply_tile(const T* a, int64_t row_step, int64_t k_step, const T* panel, int64_t k, T* c, int64_t ldc,
                   int64_t columns) {
  typename VectorOf<T>::Type left[rows] = {}, right[rows] = {};
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i) {
    __builtin_prefetch(c + i * ldc);
    __builtin_prefetch(c + i * ldc + tile_columns<T> - 1);
  }
#pragma GCC unroll 4
  for (int64_t l = 0; l < k; ++l, a += k_step, panel += tile_columns<T>) {
    const auto* b = reinterpret_cast<const typename VectorOf<T>::Unaligned*>(panel);
    const typename VectorOf<T>::Type b_left = b[0], b_right = b[1];
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
      const T factor = a[i * row_step];
      left[i] += factor * b_left;
      right[i] += factor * b_right;
    }
  }
  const bool whole = columns == tile_columns<T>;
  T edge[rows * tile_columns<T>];  // a tile that overlaps the right edge of c goes through here
  T* target = whole ? c : edge;
  const int64_t target_ld = whole ? ldc : tile_columns<T>;
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i) {
    auto* row = reinterpret_cast<typename VectorOf<T>::Unaligned*>(target + i * target_ld);
    row[0] = accumulate && whole ? row[0] + left[i] : left[i];
    row[1] = accumulate && whole ? row[1] + right[i] : right[i];
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
template <typename T, bool accumulate, int rows = tile_rows>
void multiply_rows(int64_t count, const T* a, int64_t row_step, int64_t k_step, const T* panel, int64_t k,
                   T* c, int64_t ldc, int64_t columns) {
  if constexpr (rows > 0) {
    if (count == rows) {
      multiply_tile<T, rows, accumulate>(a, row_step, k_step, panel, k, c, ldc, columns);
    } else {
      multiply_rows<T, accumulate, rows - 1>(count, a, row_step, k_step, panel, k, c, ldc, columns);
    }
  }
}

template <typename T>
void multiply_panels(const PanelProduct<T>& args) {
  const T* panel = args.panels;
  for (int64_t j = 0; j < args.n; j += tile_columns<T>, panel += args.k * tile_columns<T>) {
    const int64_t columns = args.n - j < tile_columns<T> ? args.n - j : tile_columns<T>;
    const T* a = args.a;
    for (int64_t i = 0; i < args.m; i += tile_rows, a += args.tile_step) {
      const int64_t rows = args.m - i < tile_rows ? args.m - i : tile_rows;
      T* c = args.c + i * args.ldc + j;
      if (args.accumulate) {
        multiply_rows<T, true>(rows, a, args.row_step, args.k_step, panel, args.k, c, args.ldc, columns);
      } else {
        multiply_rows<T, false>(rows, a, args.row_step, args.k_step, panel, args.k, c, args.ldc, columns);
      }
    }
  }
}
