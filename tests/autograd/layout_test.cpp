#include "autograd/concat_columns.h"
#include "autograd/embedding.h"
#include "autograd/gather_rows.h"
#include "autograd/permute.h"
#include "autograd/reshape.h"
#include "autograd/slice_columns.h"
#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

/// Dimension i of the output is dimension order[i] of the input.
OpFunction plain_permute(const Shape& shape, const std::vector<int>& order) {
  std::vector<int64_t> sizes, strides(shape.rank(), 1);
  for (int dim : order) sizes.push_back(shape[dim]);
  for (int dim = shape.rank() - 2; dim >= 0; --dim) strides[dim] = strides[dim + 1] * shape[dim + 1];
  return plain(Shape(sizes), [=](const auto& inputs, auto& output) {
    for (int64_t i = 0; i < static_cast<int64_t>(output.size()); ++i) {
      int64_t rest = i, source = 0;
      for (int dim = static_cast<int>(order.size()) - 1; dim >= 0; --dim) {
        source += rest % sizes[dim] * strides[order[dim]];
        rest /= sizes[dim];
      }
      output[i] = inputs[0][source];
    }
  });
}

OpCase permute_case(std::string variant, const Tensor& input, const std::vector<int>& order) {
  return {"permute",
          std::move(variant),
          {input},
          [=](const auto& x) { return permute(x[0], order); },
          plain_permute(input.shape(), order),
          elementwise_tolerance};
}

OpCase reshape_case(std::string variant, const Tensor& input, const Shape& shape) {
  return {"reshape",
          std::move(variant),
          {input},
          [=](const auto& x) { return reshape(x[0], shape); },
          plain(shape, [](const auto& inputs, auto& output) { output = inputs[0]; }),
          elementwise_tolerance};
}

OpFunction plain_gather(const std::vector<int32_t>& index, int64_t columns) {
  return plain({static_cast<int64_t>(index.size()), columns}, [=](const auto& inputs, auto& output) {
    for (size_t i = 0; i < index.size(); ++i) {
      for (int64_t j = 0; j < columns; ++j) output[i * columns + j] = inputs[0][index[i] * columns + j];
    }
  });
}

OpCase gather_case(std::string variant, const Tensor& input, const std::vector<int32_t>& index) {
  return {"gather_rows",
          std::move(variant),
          {input},
          [=](const auto& x) { return gather_rows(x[0], indices(index)); },
          plain_gather(index, input.size(1)),
          elementwise_tolerance};
}

/// Columns [begin, end) of a matrix with `width` columns.
OpFunction plain_slice(int64_t rows, int64_t width, int64_t begin, int64_t end) {
  return plain({rows, end - begin}, [=](const auto& inputs, auto& output) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = begin; j < end; ++j) output[i * (end - begin) + j - begin] = inputs[0][i * width + j];
    }
  });
}

OpCase slice_case(std::string variant, const Tensor& input, int64_t begin, int64_t end) {
  return {"slice_columns",
          std::move(variant),
          {input},
          [=](const auto& x) { return slice_columns(x[0], begin, end); },
          plain_slice(input.size(0), input.size(1), begin, end),
          elementwise_tolerance};
}

OpCase concat_case(std::string variant, const std::vector<Tensor>& inputs) {
  const int64_t rows = inputs[0].size(0);
  std::vector<int64_t> widths;
  int64_t width = 0;
  for (const Tensor& input : inputs) {
    widths.push_back(input.size(1));
    width += input.size(1);
  }
  return {"concat_columns",
          std::move(variant),
          inputs,
          [](const auto& x) { return concat_columns(x); },
          plain({rows, width},
                [=](const auto& values, auto& output) {
                  output.clear();
                  for (int64_t i = 0; i < rows; ++i) {
                    for (size_t k = 0; k < widths.size(); ++k) {
                      const double* const row = values[k].data() + i * widths[k];
                      output.insert(output.end(), row, row + widths[k]);
                    }
                  }
                }),
          elementwise_tolerance};
}

const RegisterOpCases layout_cases{
    permute_case("matrix", random_tensor({3, 5}), {1, 0}),
    permute_case("rank 3", random_slice({3, 5, 7}), {1, 0, 2}),
    permute_case("cycle", random_tensor({3, 5, 2}), {2, 0, 1}),
    permute_case("rank 4 with a dimension of 1", random_tensor({2, 1, 3, 5}), {3, 1, 0, 2}),
    permute_case("rank 4, heads", random_tensor({2, 3, 5, 7}), {0, 2, 1, 3}),
    permute_case("rank 1", random_tensor({7}), {0}),
    reshape_case("split", random_tensor({3, 10}), {3, 2, 5}),
    reshape_case("to a scalar", random_tensor({1, 1}), {}),
    reshape_case("slice", random_slice({5, 6}), {30}),
    gather_case("repeated rows", random_tensor({5, 3}), {4, 0, 0, 2, 4, 4, 1}),
    gather_case("one row of a slice", random_slice({7, 11}), {3}),
    gather_case("one column", random_tensor({13, 1}), {12, 5}),
    {"embedding",
     "no padding row",
     {random_tensor({11, 5})},
     [](const auto& x) {
       return embedding(x[0], indices({10, 3, 3, 0}));
     },
     plain_gather({10, 3, 3, 0}, 5),
     elementwise_tolerance},
    slice_case("middle", random_tensor({5, 11}), 2, 7),
    slice_case("all", random_tensor({3, 2}), 0, 2),
    slice_case("last column of a slice", random_slice({13, 3}), 2, 3),
    concat_case("three", {random_tensor({5, 3}), random_slice({5, 1}, 2), random_tensor({5, 7}, 3)}),
    concat_case("one", {random_tensor({2, 3})}),
    concat_case("one row", {random_tensor({1, 3}), random_tensor({1, 2}, 2)}),
};

}  // namespace

BOOST_AUTO_TEST_SUITE(layout)

BOOST_AUTO_TEST_CASE(orders_that_are_no_permutation_are_refused) {
  for (const std::vector<int>& order : {std::vector<int>{0, 0}, {0}, {0, 2}, {0, 1, 2}, {-1, 0}}) {
    BOOST_CHECK_EXCEPTION(permute(random_variable({2, 3}), order), std::invalid_argument,
                          says("permute: expected each dimension of shape [2, 3] once"));
  }
  BOOST_CHECK_EXCEPTION(permute(Variable(), {}), std::invalid_argument,
                        says("permute: operand 0 is undefined"));
}

BOOST_AUTO_TEST_CASE(shapes_with_other_sizes_are_refused) {
  BOOST_CHECK_EXCEPTION(reshape(random_variable({2, 3}), {7}), std::invalid_argument,
                        says("reshape: expected as many elements as shape [2, 3] has, found [7]"));
  BOOST_CHECK_EXCEPTION(reshape(Variable(), {7}), std::invalid_argument,
                        says("reshape: operand 0 is undefined"));
}

BOOST_AUTO_TEST_CASE(reshape_shares_the_storage) {
  const Variable input = random_variable({2, 3});
  BOOST_CHECK(reshape(input, {6}).tensor().storage() == input.tensor().storage());
}

BOOST_AUTO_TEST_CASE(rows_that_are_not_there_are_refused) {
  BOOST_CHECK_EXCEPTION(gather_rows(random_variable({2, 3}), indices({0, 2})), std::invalid_argument,
                        says("gather_rows: expected index in [0, 2), found 2 at position 1"));
  BOOST_CHECK_EXCEPTION(gather_rows(random_variable({2, 3}), indices({-1})), std::invalid_argument,
                        says("gather_rows: expected index in [0, 2), found -1 at position 0"));
  BOOST_CHECK_EXCEPTION(gather_rows(random_variable({2, 3}), Tensor()), std::invalid_argument,
                        says("gather_rows: index is undefined"));
  BOOST_CHECK_EXCEPTION(gather_rows(random_variable({2, 3}), random_tensor({2})), std::invalid_argument,
                        says("gather_rows: expected index of dtype int32, found float64"));
  BOOST_CHECK_EXCEPTION(gather_rows(random_variable({2, 3}), indices({0, 1}).reshape({2, 1})),
                        std::invalid_argument,
                        says("gather_rows: expected index of shape [2], found [2, 1]"));
  BOOST_CHECK_EXCEPTION(gather_rows(random_variable({2}), indices({0})), std::invalid_argument,
                        says("gather_rows: expected input with 2 dimensions, found shape [2]"));
  BOOST_CHECK_EXCEPTION(gather_rows(Variable(), indices({0})), std::invalid_argument,
                        says("gather_rows: operand 0 is undefined"));
}

BOOST_AUTO_TEST_CASE(only_the_padding_row_gets_no_gradient) {
  const Variable weight = random_variable({3, 2});
  const Variable output = embedding(weight, indices({2, 1, 2}), /*padding_idx=*/1);
  BOOST_TEST(values_of(output.tensor())[2] == values_of(weight.tensor())[2]);
  sum(output).backward();
  BOOST_TEST(weight.grad().to_vector<double>() == (std::vector<double>{0, 0, 0, 0, 2, 2}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(columns_that_are_not_there_are_refused) {
  for (const auto& [begin, end] : {std::pair{-1, 2}, {1, 1}, {2, 1}, {0, 4}}) {
    BOOST_CHECK_EXCEPTION(slice_columns(random_variable({2, 3}), begin, end), std::invalid_argument,
                          says("slice_columns: expected a range of columns in [0, 3)"));
  }
  BOOST_CHECK_EXCEPTION(slice_columns(random_variable({6}), 0, 1), std::invalid_argument,
                        says("slice_columns: expected input with 2 dimensions, found shape [6]"));
  BOOST_CHECK_EXCEPTION(slice_columns(Variable(), 0, 1), std::invalid_argument,
                        says("slice_columns: operand 0 is undefined"));
}

BOOST_AUTO_TEST_CASE(matrices_of_other_heights_are_not_concatenated) {
  BOOST_CHECK_EXCEPTION(concat_columns({}), std::invalid_argument,
                        says("concat_columns: expected at least one matrix, found none"));
  BOOST_CHECK_EXCEPTION(concat_columns({random_variable({2, 3}), random_variable({3, 3})}),
                        std::invalid_argument,
                        says("concat_columns: expected each input of shape [2, 3], found [3, 3]"));
  BOOST_CHECK_EXCEPTION(concat_columns({random_variable({2, 3}), random_variable({2})}),
                        std::invalid_argument,
                        says("concat_columns: expected each input with 2 dimensions, found shape [2]"));
  BOOST_CHECK_EXCEPTION(concat_columns({random_variable({2, 3}), random_variable({2, 3}, 1, DType::float32)}),
                        std::invalid_argument, says("concat_columns: expected operands of one dtype"));
}

BOOST_AUTO_TEST_CASE(moving_elements_saves_at_most_the_index) {
  const Variable input = random_variable({4, 6});
  const Tensor index = indices({1, 2});
  BOOST_TEST(saved_bytes(gather_rows(input, index), {}) == 8u);
  BOOST_TEST(saved_bytes(permute(input, {1, 0}), {}) == 0u);
  BOOST_TEST(saved_bytes(reshape(input, {24}), {}) == 0u);
  BOOST_TEST(saved_bytes(slice_columns(input, 1, 2), {}) == 0u);
  BOOST_TEST(saved_bytes(concat_columns({input, input}), {}) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
