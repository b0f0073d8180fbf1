#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

/// Products by factors that are held as constant.
BOOST_AUTO_TEST_SUITE(constant_factors)

namespace {

struct Case {
  int64_t m, n, k;
};

/// Sizes around the blocks of matmul_test.cpp and bf16_matmul_test.cpp; nothing at all.
constexpr Case cases[] = {{1, 1, 1},      {2, 48, 5},     {13, 33, 17},   {3, 5, 385},     {2, 3200, 400},
                          {3, 40, 1550},  {2, 300, 1700}, {70, 31, 1025}, {257, 258, 100}, {2, 104, 400},
                          {2, 3080, 400}, {0, 3, 4},      {3, 0, 4},      {3, 4, 0}};

/// Sets the precision of float32 products for its lifetime.
class Precision {
 public:
  explicit Precision(ProductPrecision precision) { cpu().set_product_precision(precision); }
  ~Precision() { cpu().set_product_precision(ProductPrecision::float32); }
  Precision(const Precision&) = delete;
  Precision& operator=(const Precision&) = delete;
};

Tensor product(const Tensor& a, const MatrixRef& b, bool transpose_b) {
  Tensor c = Tensor::empty({a.size(0), transpose_b ? b.rows : b.cols}, a.dtype());
  cpu().matmul({.a = a, .b = b, .transpose_b = transpose_b, .c = c});
  return c;
}

}  // namespace

BOOST_AUTO_TEST_CASE(products_keep_their_bits) {
  for_each_setting([](DType dtype) {
    for (const ProductPrecision precision : {ProductPrecision::float32, ProductPrecision::bf16}) {
      const Precision set(precision);
      for (const auto& [m, n, k] : cases) {
        for (const bool transpose_b : {false, true}) {
          BOOST_TEST_CONTEXT(m << " x " << n << " x " << k << (transpose_b ? ", transposed" : "")) {
            dirty_free_memory();
            const Tensor a = random_tensor({m, k}, dtype, 1);
            const Tensor wide = random_tensor({transpose_b ? n : k, (transpose_b ? k : n) + 2}, dtype, 2);
            const MatrixRef b = MatrixRef(wide).columns(1, 1 + (transpose_b ? k : n));
            const Tensor expected = product(a, b, transpose_b);
            const auto held = cpu().hold_constant(b, transpose_b);
            BOOST_TEST(equal_bits(product(a, b, transpose_b), expected));
          }
        }
      }
    }
  });
}

/// What was made of the factor counts as long as somebody holds it, for products of its kind alone. Breaking
/// the promise shows which form a product reads.
BOOST_AUTO_TEST_CASE(the_form_is_read_while_it_is_held) {
  for (const ProductPrecision precision : {ProductPrecision::float32, ProductPrecision::bf16}) {
    const Precision set(precision);
    const Tensor a = random_tensor({5, 40}, DType::float32, 1);
    const Tensor b = random_tensor({40, 40}, DType::float32, 2);
    const Tensor before = product(a, b, true), before_plain = product(a, b, false);
    auto held = cpu().hold_constant(b, true), held_again = cpu().hold_constant(b, true);
    BOOST_TEST(held == held_again);
    cpu().scale(b, 2, b);
    BOOST_TEST(equal_bits(product(a, b, true), before));
    BOOST_TEST(!equal_bits(product(a, b, false), before_plain));
    BOOST_TEST(values_of(product(a, MatrixRef(b).row_range(0, 1), true))[0] == 2 * values_of(before)[0]);
    held.reset();
    BOOST_TEST(equal_bits(product(a, b, true), before));
    held_again.reset();
    const Tensor after = product(a, b, true);
    BOOST_TEST(!equal_bits(after, before));
    const auto held_anew = cpu().hold_constant(b, true);
    BOOST_TEST(equal_bits(product(a, b, true), after));
  }
}

/// A form that was made for one precision does not serve the other.
BOOST_AUTO_TEST_CASE(each_precision_has_its_form) {
  const Tensor a = random_tensor({5, 40}, DType::float32, 1), b = random_tensor({30, 40}, DType::float32, 2);
  const auto in_bf16 = [&] {
    const Precision set(ProductPrecision::bf16);
    return product(a, b, true);
  };
  const Tensor exact = product(a, b, true), rounded = in_bf16();
  BOOST_TEST(!equal_bits(exact, rounded));
  const auto held = cpu().hold_constant(b, true);
  BOOST_TEST(equal_bits(in_bf16(), rounded));
  const Precision set(ProductPrecision::bf16);
  const auto held_rounded = cpu().hold_constant(b, true);
  BOOST_TEST(held != held_rounded);
  BOOST_TEST(equal_bits(product(a, b, true), rounded));
}

BOOST_AUTO_TEST_SUITE_END()
