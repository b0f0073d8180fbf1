// Part of loops.cpp: the matrix product c (+)= a b. Each element of c is a sum over k in one fixed order,
// however c is cut into tiles: its bits depend neither on the number of threads nor on the other rows of a
// batch.

// Rows of a tile of c: the sums of a tile three vectors wide fill 24 of the 32 registers that AVX-512 has, 12
// of 16 elsewhere.
#if defined(__AVX512F__)
constexpr int tile_rows = 8;
#else
constexpr int tile_rows = 4;
#endif

/// A number of vectors as a type, for a generic lambda.
template <int value_>
struct Constant {
  static constexpr int value = value_;
};

template <typename T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(vector_bytes)));
  typedef T Unaligned __attribute__((vector_size(vector_bytes), aligned(alignof(T)), may_alias));
};

/// A vector of columns of a panel `width` wide; the elements of each column are contiguous.
template <typename T>
void pack_contiguous_columns(const T* b, int64_t column_step, int64_t k, int64_t width, T* packed) {
  using Unaligned = typename VectorOf<T>::Unaligned;
  int64_t l = 0;
  for (; l + lanes<T> <= k; l += lanes<T>) {
    typename VectorOf<T>::Type rows[lanes<T>];
#pragma GCC unroll 16
    for (int j = 0; j < lanes<T>; ++j) rows[j] = *reinterpret_cast<const Unaligned*>(b + j * column_step + l);
    transpose(rows);
#pragma GCC unroll 16
    for (int i = 0; i < lanes<T>; ++i) *reinterpret_cast<Unaligned*>(packed + (l + i) * width) = rows[i];
  }
  for (; l < k; ++l) {
    for (int j = 0; j < lanes<T>; ++j) packed[l * width + j] = b[l + j * column_step];
  }
}

/// One panel: `columns` columns of b, filled up with zeros to `width`. A tile of a transposed a is packed
/// alike.
template <typename T, int64_t width>
void pack_panel(const T* b, int64_t k_step, int64_t column_step, int64_t k, int64_t columns, T* packed) {
  if constexpr (width % lanes<T> == 0) {  // a panel; the rows of a transposed a are never contiguous columns
    if (columns == width && k_step == 1) {
      for (int64_t j = 0; j < width; j += lanes<T>) {
        pack_contiguous_columns(b + j * column_step, column_step, k, width, packed + j);
      }
      return;
    }
  }
  for (int64_t l = 0; l < k; ++l) {
    T* row = packed + l * width;
    if (columns == width && column_step == 1) {
      __builtin_memcpy(row, b + l * k_step, sizeof(T) * width);
    } else {
      for (int64_t j = 0; j < width; ++j) row[j] = j < columns ? b[l * k_step + j * column_step] : T(0);
    }
  }
}

/// Calls body(first column, columns, Constant<vectors>) for each panel of n columns (Tiling::pack_panels).
template <typename T, typename Body>
void for_each_panel(int64_t n, const Body& body) {
  for (int64_t j = 0; j < n;) {
    const int64_t left = n - j, vectors_left = (left + lanes<T> - 1) / lanes<T>;
    const auto call = [&](auto vectors) {
      constexpr int64_t width = vectors.value * lanes<T>;
      body(j, left < width ? left : width, vectors);
      j += width;
    };
    if (vectors_left == 1) {
      call(Constant<1>{});
    } else if (vectors_left == 2 || vectors_left == 4) {
      call(Constant<2>{});
    } else {
      call(Constant<3>{});
    }
  }
}

/// Rows of a factor that are packed at a time: they stay in the first-level cache until all panels or tiles
/// have taken their part.
constexpr int64_t packed_rows = 8;

/// Calls body(begin, terms) for [0, k) in pieces of `step` terms.
template <typename Body>
void for_each_terms(int64_t k, int64_t step, const Body& body) {
  for (int64_t begin = 0; begin < k; begin += step) body(begin, k - begin < step ? k - begin : step);
}

template <typename T>
void pack_panels(const T* b, int64_t k_step, int64_t column_step, int64_t k, int64_t n, T* packed) {
  const int64_t terms_at_a_time = k_step == 1 ? k : packed_rows;  // the rows of a transposed b are columns
  for_each_terms(k, terms_at_a_time, [&](int64_t begin, int64_t terms) {
    for_each_panel<T>(n, [&](int64_t j, int64_t columns, auto vectors) {
      constexpr int64_t width = vectors.value * lanes<T>;
      pack_panel<T, width>(b + begin * k_step + j * column_step, k_step, column_step, terms, columns,
                           packed + j * k + begin * width);
    });
  });
}

template <typename T>
void pack_tiles(const T* a, int64_t k_step, int64_t k, int64_t m, T* packed) {
  for_each_terms(k, packed_rows, [&](int64_t begin, int64_t terms) {
    for (int64_t i = 0; i < m; i += tile_rows) {
      pack_panel<T, tile_rows>(a + begin * k_step + i, k_step, 1, terms,
                               m - i < tile_rows ? m - i : tile_rows, packed + i * k + begin * tile_rows);
    }
  });
}

/// c (+)= a b for a tile of `rows` rows and at most `vectors` vectors of columns. Element (i, l) of a lies at
/// i * row_step + l * k_step.
template <typename T, int rows, int vectors, bool accumulate>
void multiply_tile(const T* a, int64_t row_step, int64_t k_step, const T* panel, int64_t k, T* c, int64_t ldc,
                   int64_t columns) {
  constexpr int64_t width = vectors * lanes<T>;
  typename VectorOf<T>::Type sums[rows][vectors] = {};
  // The rows of c come into the caches one after the other: at once they would take the places of the loads
  // that the products wait for.
  for (int64_t next = 0, l = 0; next < rows; ++next) {
    __builtin_prefetch(c + next * ldc);
    __builtin_prefetch(c + next * ldc + width / 2);
    __builtin_prefetch(c + next * ldc + width - 1);
    const int64_t end = (next + 1) * k / rows;
#pragma GCC unroll 4
    for (; l < end; ++l, a += k_step, panel += width) {
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

/// Row by row of tiles: a tile's rows of a stay in the first-level cache while all panels pass by, which lie
/// in the second-level cache.
template <typename T>
void multiply_panels(const PanelProduct<T>& args) {
  const T* a = args.a;
  for (int64_t i = 0; i < args.m; i += tile_rows, a += args.tile_step) {
    const int64_t rows = args.m - i < tile_rows ? args.m - i : tile_rows;
    for_each_panel<T>(args.n, [&](int64_t j, int64_t columns, auto vectors) {
      const auto multiply = args.accumulate ? multiply_rows<T, vectors.value, true, tile_rows>
                                            : multiply_rows<T, vectors.value, false, tile_rows>;
      multiply(rows, a, args.row_step, args.k_step, args.panels + j * args.k, args.k,
               args.c + i * args.ldc + j, args.ldc, columns);
    });
  }
}
