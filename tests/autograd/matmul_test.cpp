#include "autograd/matmul.h"

#include "autograd/batched_matmul.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

/// A product of `batch` matrices, written out.
OpFunction plain_product(int64_t batch, int64_t m, int64_t k, int64_t n, bool transpose_a, bool transpose_b,
                         const Shape& shape) {
  return plain(shape, [=](const auto& inputs, auto& output) {
    for (int64_t s = 0; s < batch; ++s) {
      const double* const a = inputs[0].data() + s * m * k;
      const double* const b = inputs[1].data() + s * k * n;
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (int64_t l = 0; l < k; ++l) {
            sum += (transpose_a ? a[l * m + i] : a[i * k + l]) * (transpose_b ? b[j * k + l] : b[l * n + j]);
          }
          output[(s * m + i) * n + j] = sum;
        }
      }
    }
  });
}

OpCase matmul_case(std::string variant, int64_t m, int64_t k, int64_t n, bool transpose_a, bool transpose_b) {
  return {"matmul",
          std::move(variant),
          {random_slice(transpose_a ? Shape{k, m} : Shape{m, k}),
           random_tensor(transpose_b ? Shape{n, k} : Shape{k, n}, 2)},
          [=](const auto& x) { return matmul(x[0], x[1], transpose_a, transpose_b); },
          plain_product(1, m, k, n, transpose_a, transpose_b, {m, n})};
}

OpCase batched_case(std::string variant, int64_t batch, int64_t m, int64_t k, int64_t n, bool transpose_a,
                    bool transpose_b) {
  return {"batched_matmul",
          std::move(variant),
          {random_slice(transpose_a ? Shape{batch, k, m} : Shape{batch, m, k}),
           random_tensor(transpose_b ? Shape{batch, n, k} : Shape{batch, k, n}, 2)},
          [=](const auto& x) { return batched_matmul(x[0], x[1], transpose_a, transpose_b); },
          plain_product(batch, m, k, n, transpose_a, transpose_b, {batch, m, n})};
}

const RegisterOpCases matmul_cases{
    matmul_case("plain", 3, 5, 7, false, false),
    matmul_case("a transposed", 3, 5, 7, true, false),
    matmul_case("b transposed", 7, 5, 3, false, true),
    matmul_case("both transposed", 7, 3, 5, true, true),
    matmul_case("one row", 1, 11, 3, false, true),
    matmul_case("one column", 11, 3, 1, false, false),
    matmul_case("inner size 1", 5, 1, 3, true, false),
    matmul_case("one element", 1, 1, 1, true, true),
    batched_case("plain", 2, 3, 5, 7, false, false),
    batched_case("a transposed", 3, 5, 2, 7, true, false),
    batched_case("b transposed", 2, 3, 5, 7, false, true),
    batched_case("both transposed", 3, 2, 5, 3, true, true),
    batched_case("batch of 1, inner size 1", 1, 3, 1, 5, false, true),
};

}  // namespace

BOOST_AUTO_TEST_SUITE(matmul)

using normtune::matmul;  // the suite hides it

BOOST_AUTO_TEST_CASE(matrices_that_do_not_fit_are_refused) {
  BOOST_CHECK_EXCEPTION(matmul(random_variable({2, 3}), random_variable({2, 3})), std::invalid_argument,
                        says("matmul: expected b of shape [3, 3], found [2, 3]"));
  BOOST_CHECK_EXCEPTION(matmul(random_variable({2, 3}), random_variable({5, 3}), true, true),
                        std::invalid_argument, says("matmul: expected b of shape [5, 2], found [5, 3]"));
  BOOST_CHECK_EXCEPTION(matmul(random_variable({2, 3, 1}), random_variable({3, 2})), std::invalid_argument,
                        says("matmul: expected a with 2 dimensions, found shape [2, 3, 1]"));
  BOOST_CHECK_EXCEPTION(matmul(random_variable({2, 3}), random_variable({3})), std::invalid_argument,
                        says("matmul: expected b with 2 dimensions, found shape [3]"));
  BOOST_CHECK_EXCEPTION(matmul(random_variable({2, 3}), Variable(random_tensor({3, 2}, 1, DType::float32))),
                        std::invalid_argument, says("matmul: expected operands of one dtype"));
}

BOOST_AUTO_TEST_CASE(batches_that_do_not_fit_are_refused) {
  BOOST_CHECK_EXCEPTION(batched_matmul(random_variable({2, 3, 5}), random_variable({3, 5, 7})),
                        std::invalid_argument,
                        says("batched_matmul: expected b of shape [2, 5, 7], found [3, 5, 7]"));
  BOOST_CHECK_EXCEPTION(batched_matmul(random_variable({2, 3, 5}), random_variable({2, 5, 7}), false, true),
                        std::invalid_argument,
                        says("batched_matmul: expected b of shape [2, 5, 5], found [2, 5, 7]"));
  BOOST_CHECK_EXCEPTION(batched_matmul(random_variable({2, 3}), random_variable({2, 3, 5})),
                        std::invalid_argument,
                        says("batched_matmul: expected a with 3 dimensions, found shape [2, 3]"));
  BOOST_CHECK_EXCEPTION(batched_matmul(random_variable({2, 3, 5}), random_variable({3, 5})),
                        std::invalid_argument,
                        says("batched_matmul: expected b with 3 dimensions, found shape [3, 5]"));
  BOOST_CHECK_EXCEPTION(batched_matmul(random_variable({2, 3, 5}), Variable()), std::invalid_argument,
                        says("batched_matmul: operand 1 is undefined"));
}

BOOST_AUTO_TEST_CASE(only_the_other_factor_of_a_required_gradient_is_saved) {
  const Variable a = random_variable({4, 8}), b(random_tensor({8, 2}));
  BOOST_TEST(saved_bytes(matmul(a, b), {}) == b.tensor().nbytes());
  BOOST_TEST(saved_bytes(matmul(b, a, true, true), {}) == b.tensor().nbytes());
  const Variable c = random_variable({1, 4, 8}), d(random_tensor({1, 8, 2}));
  BOOST_TEST(saved_bytes(batched_matmul(c, d), {}) == d.tensor().nbytes());
}

BOOST_AUTO_TEST_SUITE_END()
