#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(embedding)

namespace {

std::vector<int32_t> random_indices(int64_t count, int32_t num_rows) {
  std::vector<int32_t> index;
  for (int64_t i = 0; i < count; ++i) index.push_back(static_cast<int32_t>(mix64(i) % num_rows));
  return index;
}

}  // namespace

BOOST_AUTO_TEST_CASE(gather_copies_rows) {
  for_each_setting([](DType dtype) {
    const Tensor table = random_tensor({11, 37}, dtype, 1);
    const std::vector<int32_t> index = random_indices(500, 11);
    const Tensor output = Tensor::empty({500, 37}, dtype);
    cpu().gather_rows({.input = table, .index = indices(index), .output = output});
    for (int64_t i = 0; i < 500; ++i) {
      const int64_t row = index[static_cast<size_t>(i)];
      BOOST_TEST(equal_bits(output.slice(i, i + 1), table.slice(row, row + 1)));
    }
  });
}

BOOST_AUTO_TEST_CASE(scatter_adds_rows_of_equal_index) {
  for_each_setting([](DType dtype) {
    // Few rows with many contributions each, and many rows with few; runs of an index that span pieces.
    for (const auto& [count, rows, columns] :
         {std::tuple<int64_t, int32_t, int64_t>{700, 3, 41}, {500, 1000, 5}, {40, 2, 16'000}, {0, 4, 3}}) {
      for (const int64_t skip : {-1, 1}) {
        const Tensor grad_output = random_tensor({count, columns}, dtype, 1);
        const std::vector<int32_t> index = random_indices(count, rows);
        std::vector<double> expected(static_cast<size_t>(rows * columns), 0);
        const std::vector<double> values = values_of(grad_output);
        for (int64_t i = 0; i < count * columns; ++i) {
          const int64_t row = index[static_cast<size_t>(i / columns)];
          if (row != skip)
            expected[static_cast<size_t>(row * columns + i % columns)] += values[static_cast<size_t>(i)];
        }
        const Tensor grad_input = Tensor::full({rows, columns}, 9, dtype);
        cpu().scatter_add_rows({.grad_output = grad_output,
                                .index = indices(index),
                                .grad_input = grad_input,
                                .skip_index = skip});
        BOOST_CHECK(largest_error(values_of(grad_input), expected) <= reduction.of(dtype));
      }
    }
  });
}

BOOST_AUTO_TEST_SUITE_END()
