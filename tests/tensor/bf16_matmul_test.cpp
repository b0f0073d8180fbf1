#include <cmath>

#include "tensor/cpu/bf16/gemm.h"
#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(bf16_matmul)

namespace {

struct Case {
  int64_t m, n, k;
};

/// Ones and primes; sizes around the tiles (16 lines, 32 terms), their groups (32 lines) and the blocks (256
/// lines, 384 terms).
constexpr Case cases[] = {{1, 1, 1},     {1, 2, 1500},    {16, 16, 32}, {17, 15, 31},
                          {32, 32, 64},  {33, 47, 65},    {257, 3, 64}, {5, 300, 33},
                          {31, 37, 385}, {259, 258, 100}, {2, 1, 2049}, {64, 64, 768}};

/// The nearest number with 8 bits of significand; of two the even one.
double rounded(double value) {
  if (value == 0) return 0;
  const double unit = std::ldexp(1.0, std::ilogb(value) - 7);
  return std::nearbyint(value / unit) * unit;
}

Shape shape_of(bool transpose, int64_t rows, int64_t columns) {
  return transpose ? Shape{columns, rows} : Shape{rows, columns};
}

Gemm<float> product_of(const Case& size, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b,
                       const Tensor& c, bool accumulate) {
  return {.m = size.m,
          .n = size.n,
          .k = size.k,
          .a = a.data<float>(),
          .lda = a.size(1),
          .transpose_a = transpose_a,
          .b = b.data<float>(),
          .ldb = b.size(1),
          .transpose_b = transpose_b,
          .c = c.data<float>(),
          .ldc = c.size(1),
          .accumulate = accumulate};
}

/// c + op(a) op(b) + bias of rounded factors, by three loops in double.
std::vector<double> reference(const Gemm<float>& args) {
  std::vector<double> result;
  for (int64_t i = 0; i < args.m; ++i) {
    for (int64_t j = 0; j < args.n; ++j) {
      double sum = args.accumulate ? args.c[i * args.ldc + j] : 0;
      if (args.bias != nullptr) sum += args.bias[j];
      for (int64_t l = 0; l < args.k; ++l) {
        sum += rounded(args.a[args.transpose_a ? l * args.lda + i : i * args.lda + l]) *
               rounded(args.b[args.transpose_b ? j * args.ldb + l : l * args.ldb + j]);
      }
      result.push_back(sum);
    }
  }
  return result;
}

}  // namespace

BOOST_AUTO_TEST_CASE(equals_three_loops_over_rounded_factors) {
  for_each_instruction_set([] {
    for (const Case& size : cases) {
      for (int orientation = 0; orientation < 16; ++orientation) {
        const bool transpose_a = orientation & 1, transpose_b = orientation & 2, accumulate = orientation & 4;
        BOOST_TEST_CONTEXT(size.m << " x " << size.n << " x " << size.k << ", " << orientation) {
          dirty_free_memory();
          const Tensor a = random_tensor(shape_of(transpose_a, size.m, size.k), DType::float32, 1, 1);
          const Tensor b = random_tensor(shape_of(transpose_b, size.k, size.n), DType::float32, 2, 1);
          const Tensor c = random_tensor({size.m, size.n}, DType::float32, 3, 1);
          const Tensor bias = random_tensor({size.n}, DType::float32, 4, 1);
          Gemm<float> args = product_of(size, a, transpose_a, b, transpose_b, c, accumulate);
          if (orientation & 8) args.bias = bias.data<float>();
          const std::vector<double> expected = reference(args);
          bf16::gemm(args);
          BOOST_CHECK(largest_error(values_of(c), expected) <= 4e-7 * static_cast<double>(size.k + 10));
        }
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(rounds_to_nearest_and_ties_to_even) {
  // One unit in the last of 8 bits is 2^-7 at 1.
  const std::vector<float> inputs = {1 + 0x1p-8F, 1 + 3 * 0x1p-8F, 1 + 0x1p-8F + 0x1p-20F, -(1 + 0x1p-8F),
                                     0x1.FFp127F};
  const std::vector<double> expected = {1, 1 + 0x1p-6, 1 + 0x1p-7, -1, INFINITY};
  const Tensor a = Tensor::from_values({5, 1}, inputs), one = Tensor::full({1, 1}, 1, DType::float32);
  for_each_instruction_set([&] {
    const Tensor c = Tensor::empty({5, 1}, DType::float32);
    bf16::gemm(product_of({5, 1, 1}, a, false, one, false, c, false));
    BOOST_TEST(values_of(c) == expected);
  });
}

BOOST_AUTO_TEST_CASE(nan_goes_through) {
  const Tensor a = Tensor::full({3, 40}, NAN, DType::float32), b = Tensor::full({40, 2}, 1, DType::float32);
  for_each_instruction_set([&] {
    const Tensor c = Tensor::full({3, 2}, 0, DType::float32);
    bf16::gemm(product_of({3, 2, 40}, a, false, b, false, c, false));
    for (const double value : values_of(c)) BOOST_TEST(std::isnan(value));
  });
}

BOOST_AUTO_TEST_CASE(any_threads_and_any_other_rows_give_equal_bits) {
  const Tensor a = random_tensor({301, 1100}, DType::float32, 1),
               b = random_tensor({290, 1100}, DType::float32, 2);
  for_each_instruction_set([&] {
    const auto product = [&](const Tensor& rows) {
      const Tensor c = Tensor::empty({rows.size(0), 290}, DType::float32);
      bf16::gemm(product_of({rows.size(0), 290, 1100}, rows, false, b, true, c, false));
      return c;
    };
    check_bits_for_any_threads("product", [&] { return std::vector<Tensor>{product(a)}; });
    const Tensor whole = product(a);
    for (const auto& [begin, end] : {std::pair{0, 1}, {5, 38}, {100, 301}}) {
      BOOST_TEST(equal_bits(product(a.slice(begin, end)), whole.slice(begin, end)));
    }
  });
}

/// A large c is written past the caches, a few of its rows are not.
BOOST_AUTO_TEST_CASE(a_large_product_has_the_bits_of_its_rows) {
  const int64_t m = 1441, k = 400;
  const Tensor a = random_tensor({m, k}, DType::float32, 1);
  for (const int64_t n : {1456, 1487, 1488}) {  // its rows begin at cache lines, or not
    const Tensor b = random_tensor({n, k}, DType::float32, 2), bias = random_tensor({n}, DType::float32, 3);
    for_each_instruction_set([&] {
      for (const bool with_bias : {false, true}) {
        const auto product = [&](const Tensor& rows) {
          dirty_free_memory();
          const Tensor c = Tensor::empty({rows.size(0), n}, DType::float32);
          Gemm<float> args = product_of({rows.size(0), n, k}, rows, false, b, true, c, false);
          if (with_bias) args.bias = bias.data<float>();
          bf16::gemm(args);
          return c;
        };
        const Tensor whole = product(a);
        for (int64_t begin = 0; begin < m; begin += 131) {
          BOOST_TEST_CONTEXT(n << " columns, rows from " << begin) {
            BOOST_TEST(equal_bits(product(a.slice(begin, begin + 131)), whole.slice(begin, begin + 131)));
          }
        }
      }
    });
  }
}

/// The backend takes this way if it is told to, for float32 alone.
BOOST_AUTO_TEST_CASE(the_backend_rounds_only_if_told_to) {
  const Tensor a = Tensor::full({2, 3}, 1 + 0x1p-9, DType::float32),
               b = Tensor::full({3, 2}, 1, DType::float32);
  const Tensor c = Tensor::empty({2, 2}, DType::float32);
  cpu().set_product_precision(ProductPrecision::bf16);
  cpu().matmul({.a = a, .b = b, .c = c});
  BOOST_TEST(values_of(c) == std::vector<double>(4, 3));
  const Tensor wide = Tensor::empty({2, 2}, DType::float64);
  cpu().matmul({.a = a.to(DType::float64), .b = b.to(DType::float64), .c = wide});
  BOOST_TEST(values_of(wide) == std::vector<double>(4, 3 + 3 * 0x1p-9));
  cpu().set_product_precision(ProductPrecision::float32);
  cpu().matmul({.a = a, .b = b, .c = c});
  BOOST_TEST(values_of(c) == std::vector<double>(4, 3 + 3 * 0x1p-9));
}

BOOST_AUTO_TEST_SUITE_END()
