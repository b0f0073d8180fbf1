#include <utility>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(squared_gradients)

namespace {

/// Lengths that are one, equal, and long enough for several pieces.
const std::vector<std::vector<int32_t>>& batches() {
  static const std::vector<std::vector<int32_t>> list = {
      {0, 1}, {0, 1, 2, 3, 4, 5, 6, 7}, {0, 3, 4, 11}, {0, 400, 401, 403, 450}};
  return list;
}

/// sum over examples of (sum over the rows of the example of term(row))^2
template <typename Term>
double sum_of_squares(const std::vector<int32_t>& bounds, const Term& term) {
  double squares = 0;
  for (size_t e = 0; e + 1 < bounds.size(); ++e) {
    double sum = 0;
    for (int64_t row = bounds[e]; row < bounds[e + 1]; ++row) sum += term(row);
    squares += sum * sum;
  }
  return squares;
}

/// Differences are measured against the largest element, since terms of either sign cancel.
void check_close(const Tensor& found, const std::vector<double>& expected) {
  double largest = 1e-300;
  for (const double value : expected) largest = std::max(largest, value);
  std::vector<double> values = values_of(found), scaled = expected;
  for (double& value : values) value /= largest;
  for (double& value : scaled) value /= largest;
  BOOST_CHECK(largest_error(values, scaled) <= reduction.of(found.dtype()));
}

std::vector<int32_t> random_indices(int64_t count, int32_t num_rows) {
  std::vector<int32_t> index;
  for (int64_t i = 0; i < count; ++i) index.push_back(static_cast<int32_t>(mix64(i) % num_rows));
  return index;
}

}  // namespace

BOOST_AUTO_TEST_CASE(column_sums) {
  for_each_setting([](DType dtype) {
    for (const std::vector<int32_t>& bounds : batches()) {
      for (const int64_t columns : {1, 5, 131}) {
        const int64_t rows = bounds.back();
        const Tensor x = random_tensor({rows, columns + 4}, dtype, 1),
                     f = random_tensor({rows, columns}, dtype, 2);
        const MatrixRef input = MatrixRef(x).columns(3, 3 + columns);
        const std::vector<double> values = values_of(input), factors = values_of(f);
        for (const Tensor* factor : {static_cast<const Tensor*>(nullptr), &f}) {
          std::vector<double> expected;
          for (int64_t j = 0; j < columns; ++j) {
            expected.push_back(sum_of_squares(bounds, [&](int64_t row) {
              const auto at = static_cast<size_t>(row * columns + j);
              return values[at] * (factor == nullptr ? 1 : factors[at]);
            }));
          }
          const Tensor output = Tensor::full({columns}, 9, dtype);
          cpu().squared_column_sums(
              {.input = input, .factor = factor, .cu_seqlens = indices(bounds), .output = output});
          check_close(output, expected);
        }
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(products) {
  for_each_setting([](DType dtype) {
    for (const std::vector<int32_t>& bounds : batches()) {
      for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {101, 139}}) {
        const int64_t rows = bounds.back();
        const Tensor x = random_tensor({rows, m + 4}, dtype, 1), b = random_tensor({rows, n}, dtype, 2);
        const MatrixRef a = MatrixRef(x).columns(3, 3 + m);
        const std::vector<double> left = values_of(a), right = values_of(b);
        std::vector<double> expected;
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            expected.push_back(sum_of_squares(bounds, [&, n = n, m = m](int64_t row) {
              return left[static_cast<size_t>(row * m + i)] * right[static_cast<size_t>(row * n + j)];
            }));
          }
        }
        const Tensor output = Tensor::full({m, n}, 9, dtype);
        cpu().squared_products({.a = a, .b = b, .cu_seqlens = indices(bounds), .output = output});
        check_close(output, expected);
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(scatter_add_rows) {
  for_each_setting([](DType dtype) {
    for (const std::vector<int32_t>& bounds : batches()) {
      for (const auto& [table_rows, columns, skip] :
           {std::tuple<int32_t, int64_t, int64_t>{3, 41, -1}, {3, 16'000, 1}, {1000, 5, -1}}) {
        const int64_t rows = bounds.back();
        const Tensor grad_output = random_tensor({rows, columns}, dtype, 1);
        const std::vector<int32_t> index = random_indices(rows, table_rows);
        const std::vector<double> values = values_of(grad_output);
        std::vector<double> expected;
        for (int64_t v = 0; v < table_rows; ++v) {
          for (int64_t j = 0; j < columns; ++j) {
            expected.push_back(sum_of_squares(bounds, [&, columns = columns, skip = skip](int64_t row) {
              const bool counts = index[static_cast<size_t>(row)] == v && v != skip;
              return counts ? values[static_cast<size_t>(row * columns + j)] : 0;
            }));
          }
        }
        const Tensor grad_input = Tensor::full({table_rows, columns}, 9, dtype);
        cpu().squared_scatter_add_rows({.grad_output = grad_output,
                                        .index = indices(index),
                                        .cu_seqlens = indices(bounds),
                                        .grad_input = grad_input,
                                        .skip_index = skip});
        check_close(grad_input, expected);
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(equal_bits_for_any_number_of_threads) {
  for_each_setting([](DType dtype) {
    const std::vector<int32_t> bounds = {0, 100, 101, 390, 400};
    const Tensor cu_seqlens = indices(bounds), index = indices(random_indices(400, 7));
    const Tensor a = random_tensor({400, 300}, dtype, 1), b = random_tensor({400, 300}, dtype, 2);
    check_bits_for_any_threads("squared_column_sums", [&] {
      const Tensor output = Tensor::empty({300}, dtype);
      cpu().squared_column_sums({.input = a, .factor = &b, .cu_seqlens = cu_seqlens, .output = output});
      return std::vector{output};
    });
    check_bits_for_any_threads("squared_products", [&] {
      const Tensor output = Tensor::empty({300, 300}, dtype);
      cpu().squared_products({.a = a, .b = b, .cu_seqlens = cu_seqlens, .output = output});
      return std::vector{output};
    });
    check_bits_for_any_threads("squared_scatter_add_rows", [&] {
      const Tensor output = Tensor::empty({7, 300}, dtype);
      cpu().squared_scatter_add_rows(
          {.grad_output = a, .index = index, .cu_seqlens = cu_seqlens, .grad_input = output});
      return std::vector{output};
    });
  });
}

BOOST_AUTO_TEST_SUITE_END()
