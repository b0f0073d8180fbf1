#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(data_movement)

BOOST_AUTO_TEST_CASE(copies_large_and_empty_ranges) {
  for (const int64_t size : {int64_t{0}, int64_t{1}, int64_t{300'007}}) {
    const Tensor x = random_tensor({size}, DType::float32, 1);
    const Tensor y = Tensor::empty({size}, DType::float32);
    cpu().copy(y.raw_data(), x.raw_data(), x.nbytes());
    BOOST_TEST(equal_bits(x, y));
  }
}

BOOST_AUTO_TEST_CASE(copy_matrix_leaves_the_gaps_alone) {
  for_each_setting([](DType dtype) {
    const Tensor x = random_tensor({5, 11}, dtype, 1), y = Tensor::full({5, 13}, 9, dtype);
    cpu().copy_matrix(MatrixRef(x).columns(2, 9), MatrixRef(y).columns(4, 11));
    BOOST_TEST(values_of(MatrixRef(x).columns(2, 9)) == values_of(MatrixRef(y).columns(4, 11)));
    BOOST_TEST(values_of(MatrixRef(y).columns(0, 4)) == std::vector<double>(20, 9));
    BOOST_TEST(values_of(MatrixRef(y).columns(11, 13)) == std::vector<double>(10, 9));
  });
}

BOOST_AUTO_TEST_CASE(permute_moves_every_element) {
  for_each_setting([](DType dtype) {
    const Tensor x = random_tensor({2, 3, 5, 7}, dtype, 1);
    const std::vector<double> values = values_of(x);
    for (const std::vector<int>& order :
         {std::vector<int>{0, 1, 2, 3}, {0, 2, 1, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}}) {
      const int64_t sizes[] = {x.size(order[0]), x.size(order[1]), x.size(order[2]), x.size(order[3])};
      const Tensor y = Tensor::empty(Shape(std::span<const int64_t>(sizes)), dtype);
      cpu().permute({.input = x, .output = y, .order = order});
      std::vector<double> expected;
      int64_t at[4];
      const int64_t strides[] = {105, 35, 7, 1};
      for (at[0] = 0; at[0] < sizes[0]; ++at[0])
        for (at[1] = 0; at[1] < sizes[1]; ++at[1])
          for (at[2] = 0; at[2] < sizes[2]; ++at[2])
            for (at[3] = 0; at[3] < sizes[3]; ++at[3]) {
              int64_t offset = 0;
              for (size_t dim = 0; dim < 4; ++dim) offset += at[dim] * strides[order[dim]];
              expected.push_back(values[static_cast<size_t>(offset)]);
            }
      BOOST_TEST(values_of(y) == expected);
    }
  });
}

BOOST_AUTO_TEST_CASE(permute_accepts_scalars_and_empty_tensors) {
  const Tensor scalar = Tensor::full({}, 3, DType::float32), copy = Tensor::zeros({}, DType::float32);
  cpu().permute({.input = scalar, .output = copy, .order = {}});
  BOOST_TEST(copy.item() == 3);
  const Tensor empty = Tensor::empty({0, 3}, DType::float32);
  cpu().permute({.input = empty, .output = Tensor::empty({3, 0}, DType::float32), .order = {1, 0}});
}

BOOST_AUTO_TEST_SUITE_END()
