// Part of loops.cpp and of bf16/pack.cpp, included inside their namespaces: a square of elements is
// transposed in the registers.

/// 0, 1, ..., n - 1 as a type.
template <int... j>
struct Indices {};
template <int n, int... j>
struct IndicesBelow : IndicesBelow<n - 1, n - 1, j...> {};
template <int... j>
struct IndicesBelow<0, j...> {
  using Type = Indices<j...>;
};

/// Rows that are `step` apart swap the blocks of `step` columns off the diagonal. j + size means column j of
/// the second of two rows.
template <int step, typename Vector, int size, int... j>
NORMTUNE_INLINE void swap_blocks(Vector (&rows)[size], Indices<j...>) {
#pragma GCC unroll 16
  for (int i = 0; i < size; ++i) {
    if ((i & step) != 0) continue;
    const Vector first = rows[i], second = rows[i + step];
    rows[i] = __builtin_shufflevector(first, second, ((j & step) == 0 ? j : j - step + size)...);
    rows[i + step] = __builtin_shufflevector(first, second, ((j & step) == 0 ? j + step : j + size)...);
  }
}

/// `size` rows of as many elements, a power of 2.
template <int step = 1, typename Vector, int size>
NORMTUNE_INLINE void transpose(Vector (&rows)[size]) {
  if constexpr (step < size) {
    swap_blocks<step>(rows, typename IndicesBelow<size>::Type{});
    transpose<2 * step>(rows);
  }
}
