#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(matmul)

namespace {

struct Case {
  int64_t m, n, k;
};

/// Primes, ones and zeros; sizes around the tiles (8 x 48) and the tasks (384 terms, 96 or 192 columns, 64 or
/// 256 rows), with a vector too many for a task; c longer than wide and wider than long.
constexpr Case cases[] = {{1, 1, 1},     {1, 1, 800},   {5, 1, 7},     {1, 9, 7},      {12, 32, 3},
                          {13, 33, 17},  {31, 37, 41},  {97, 5, 385},  {100, 513, 20}, {3, 2, 3100},
                          {2, 3200, 3},  {211, 7, 769}, {23, 64, 64},  {9, 48, 5},     {101, 624, 400},
                          {65, 200, 20}, {97, 104, 20}, {520, 200, 3}, {3080, 5, 3},   {0, 3, 4},
                          {3, 0, 4},     {3, 4, 0}};

/// op(x)[i, j] of a matrix.
double element(const std::vector<double>& values, bool transpose, int64_t ld, int64_t i, int64_t j) {
  return values[static_cast<size_t>(transpose ? j * ld + i : i * ld + j)];
}

/// c + op(a) op(b) by three loops in double.
std::vector<double> reference(const Backend::MatMul& args, std::vector<double> c) {
  const std::vector<double> a = values_of(args.a), b = values_of(args.b);
  const int64_t k = args.transpose_a ? args.a.rows : args.a.cols;
  for (int64_t i = 0; i < args.c.rows; ++i) {
    for (int64_t j = 0; j < args.c.cols; ++j) {
      double sum = args.accumulate ? c[static_cast<size_t>(i * args.c.cols + j)] : 0;
      for (int64_t l = 0; l < k; ++l) {
        sum +=
            element(a, args.transpose_a, args.a.cols, i, l) * element(b, args.transpose_b, args.b.cols, l, j);
      }
      c[static_cast<size_t>(i * args.c.cols + j)] = sum;
    }
  }
  return c;
}

Shape matrix_shape(bool transpose, int64_t rows, int64_t columns) {
  return transpose ? Shape{columns, rows} : Shape{rows, columns};
}

/// Errors grow with the number of terms; each is at most 1 in size here.
double tolerance(DType dtype, int64_t k) {
  return (dtype == DType::float64 ? 1e-15 : 4e-7) * static_cast<double>(k + 10);
}

void check_product(const Case& size, DType dtype, bool transpose_a, bool transpose_b, bool accumulate) {
  const auto [m, n, k] = size;
  BOOST_TEST_CONTEXT(m << " x " << n << " x " << k << (accumulate ? ", accumulating" : "")) {
    const Tensor a = random_tensor(matrix_shape(transpose_a, m, k), dtype, 1, 1);
    const Tensor b = random_tensor(matrix_shape(transpose_b, k, n), dtype, 2, 1);
    const Tensor c = random_tensor({m, n}, dtype, 3, 1);
    const Backend::MatMul args{.a = a,
                               .transpose_a = transpose_a,
                               .b = b,
                               .transpose_b = transpose_b,
                               .c = c,
                               .accumulate = accumulate};
    const std::vector<double> expected = reference(args, values_of(c));
    cpu().matmul(args);
    BOOST_CHECK(largest_error(values_of(c), expected) <= tolerance(dtype, k));
  }
}

template <typename Body>
void for_each_orientation(const Body& body) {
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      BOOST_TEST_CONTEXT((transpose_a ? 'T' : 'N') << (transpose_b ? 'T' : 'N'))
      body(transpose_a, transpose_b);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(equals_three_loops) {
  for_each_setting([](DType dtype) {
    for_each_orientation([dtype](bool transpose_a, bool transpose_b) {
      for (const Case& size : cases) {
        for (const bool accumulate : {false, true}) {
          check_product(size, dtype, transpose_a, transpose_b, accumulate);
        }
      }
    });
  });
}

/// c may end after any number of columns: its last panels have one, two or three vectors.
BOOST_AUTO_TEST_CASE(equals_three_loops_for_every_number_of_columns) {
  for_each_setting([](DType dtype) {
    for_each_orientation([dtype](bool transpose_a, bool transpose_b) {
      for (int64_t n = 1; n <= 112; ++n) {
        for (const int64_t m : {9, 113}) {
          check_product({m, n, 5}, dtype, transpose_a, transpose_b, /*accumulate=*/false);
        }
      }
    });
  });
}

BOOST_AUTO_TEST_CASE(a_bias_is_added_as_by_add_bias) {
  for_each_setting([](DType dtype) {
    for (const auto& [m, n, k] : cases) {
      for (const bool accumulate : {false, true}) {
        BOOST_TEST_CONTEXT(m << " x " << n << " x " << k << (accumulate ? ", accumulating" : "")) {
          const Tensor a = random_tensor({m, k}, dtype, 1, 1), b = random_tensor({n, k}, dtype, 2, 1);
          const Tensor bias = random_tensor({n}, dtype, 3, 1);
          const Tensor two_steps = random_tensor({m, n}, dtype, 4, 1), one_step = two_steps.clone();
          Backend::MatMul args{.a = a, .b = b, .transpose_b = true, .c = two_steps, .accumulate = accumulate};
          cpu().matmul(args);
          cpu().add_bias(two_steps, bias, two_steps);
          args.c = one_step;
          args.bias = bias;
          cpu().matmul(args);
          BOOST_TEST(equal_bits(one_step, two_steps));
        }
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(works_on_parts_of_matrices_and_leaves_the_rest) {
  for_each_setting([](DType dtype) {
    for_each_orientation([dtype](bool transpose_a, bool transpose_b) {
      const int64_t m = 29, n = 35, k = 50;
      const Shape a_shape = matrix_shape(transpose_a, m, k), b_shape = matrix_shape(transpose_b, k, n);
      const Tensor a = random_tensor({a_shape[0], a_shape[1] + 7}, dtype, 1, 1);
      const Tensor b = random_tensor({b_shape[0], b_shape[1] + 3}, dtype, 2, 1);
      const Tensor c = Tensor::full({m, n + 5}, 6, dtype);
      const Backend::MatMul args{.a = MatrixRef(a).columns(4, 4 + a_shape[1]),
                                 .transpose_a = transpose_a,
                                 .b = MatrixRef(b).columns(1, 1 + b_shape[1]),
                                 .transpose_b = transpose_b,
                                 .c = MatrixRef(c).columns(2, 2 + n)};
      const std::vector<double> expected = reference(args, std::vector<double>(m * n, 0));
      cpu().matmul(args);
      BOOST_CHECK(largest_error(values_of(args.c), expected) <= tolerance(dtype, k));
      BOOST_TEST(values_of(MatrixRef(c).columns(0, 2)) == std::vector<double>(2 * m, 6));
      BOOST_TEST(values_of(MatrixRef(c).columns(2 + n, 5 + n)) == std::vector<double>(3 * m, 6));
    });
  });
}

/// So an example has the same logits alone and in any batch.
BOOST_AUTO_TEST_CASE(a_row_has_the_same_bits_whatever_the_other_rows_are) {
  for_each_setting([](DType dtype) {
    for (const bool transpose_b : {false, true}) {
      const Tensor a = random_tensor({203, 500}, dtype, 1), c = Tensor::empty({203, 77}, dtype);
      const Tensor b = random_tensor(matrix_shape(transpose_b, 500, 77), dtype, 2);
      cpu().matmul({.a = a, .b = b, .transpose_b = transpose_b, .c = c});
      for (const auto& [begin, end] : {std::pair{0, 1}, {5, 18}, {100, 203}}) {
        const Tensor part = Tensor::empty({end - begin, 77}, dtype);
        cpu().matmul({.a = a.slice(begin, end), .b = b, .transpose_b = transpose_b, .c = part});
        BOOST_TEST(equal_bits(part, c.slice(begin, end)));
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(batched_products_are_products) {
  for_each_setting([](DType dtype) {
    for_each_orientation([dtype](bool transpose_a, bool transpose_b) {
      const int64_t batch = 5, m = 13, n = 40, k = 21;
      const Shape a_shape = matrix_shape(transpose_a, m, k), b_shape = matrix_shape(transpose_b, k, n);
      const Tensor a = random_tensor({batch, a_shape[0], a_shape[1]}, dtype, 1, 1);
      const Tensor b = random_tensor({batch, b_shape[0], b_shape[1]}, dtype, 2, 1);
      const Tensor c = Tensor::empty({batch, m, n}, dtype);
      cpu().batched_matmul({.a = a, .transpose_a = transpose_a, .b = b, .transpose_b = transpose_b, .c = c});
      for (int64_t i = 0; i < batch; ++i) {
        const Tensor single = Tensor::empty({m, n}, dtype);
        cpu().matmul({.a = a.slice(i, i + 1).reshape(a_shape),
                      .transpose_a = transpose_a,
                      .b = b.slice(i, i + 1).reshape(b_shape),
                      .transpose_b = transpose_b,
                      .c = single});
        BOOST_TEST(equal_bits(single, c.slice(i, i + 1).reshape({m, n})));
      }
    });
  });
}

BOOST_AUTO_TEST_CASE(nan_stays_in_its_row_and_column) {
  for_each_setting([](DType dtype) {
    const Tensor a = random_tensor({40, 9}, dtype, 1), b = random_tensor({9, 70}, dtype, 2);
    const Tensor c = Tensor::empty({40, 70}, dtype);
    Tensor poisoned = a.slice(17, 18);
    poisoned.fill(std::nan(""));
    cpu().matmul({.a = a, .b = b, .c = c});
    const std::vector<double> values = values_of(c);
    size_t misplaced = 0;
    for (size_t i = 0; i < values.size(); ++i) misplaced += std::isnan(values[i]) != (i / 70 == 17);
    BOOST_TEST(misplaced == 0u);
  });
}

BOOST_AUTO_TEST_SUITE_END()
