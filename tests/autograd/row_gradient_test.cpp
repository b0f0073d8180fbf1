#include "autograd/row_gradient.h"

#include "autograd/add.h"
#include "autograd/embedding.h"
#include "autograd/embeddings_layer_norm.h"
#include "autograd/matmul.h"
#include "autograd/multiply.h"
#include "autograd/scale.h"
#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

constexpr int64_t vocab_size = 11, hidden_size = 5, padding_idx = 0;
const std::vector<int32_t> word_ids{3, 1, 0, 10, 3, 3};

Variable embedding_table() {
  return Variable(random_tensor({vocab_size, hidden_size}), /*requires_grad=*/true);
}

/// A loss in which each looked-up row has a gradient of its own.
Variable loss_of(const Variable& looked_up, uint64_t seed = 7) {
  return sum(multiply(looked_up, Variable(random_tensor(looked_up.shape(), seed))));
}

/// The gradient of a table by plain loops.
std::vector<double> expected_gradient(const std::vector<int32_t>& looked_up, uint64_t seed = 7) {
  const auto count = static_cast<int64_t>(looked_up.size());
  const std::vector<double> grad_output = values_of(random_tensor({count, hidden_size}, seed));
  std::vector<double> gradient(vocab_size * hidden_size);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = looked_up[static_cast<size_t>(i)];
    if (row == padding_idx) continue;
    for (int64_t j = 0; j < hidden_size; ++j) {
      gradient[static_cast<size_t>(row * hidden_size + j)] +=
          grad_output[static_cast<size_t>(i * hidden_size + j)];
    }
  }
  return gradient;
}

std::vector<double> sum_of(std::vector<double> a, const std::vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(row_gradient)

BOOST_AUTO_TEST_CASE(a_table_keeps_the_rows_that_were_looked_up) {
  const Variable weight = embedding_table();
  loss_of(embedding(weight, indices(word_ids), padding_idx)).backward();
  BOOST_REQUIRE(weight.row_grad() != nullptr);
  BOOST_TEST(weight.has_grad());
  BOOST_TEST(weight.row_grad()->rows.to_vector<int32_t>() == (std::vector<int32_t>{1, 3, 10}));
  BOOST_CHECK((weight.row_grad()->values.shape() == Shape{3, hidden_size}));
  BOOST_CHECK(values_of(weight.row_grad()->dense()) == expected_gradient(word_ids));
}

BOOST_AUTO_TEST_CASE(whoever_asks_for_the_whole_gradient_gets_it) {
  Variable weight = embedding_table();
  loss_of(embedding(weight, indices(word_ids), padding_idx)).backward();
  BOOST_CHECK(values_of(weight.grad()) == expected_gradient(word_ids));
  BOOST_TEST(weight.row_grad() == nullptr);
  weight.zero_grad();
  BOOST_TEST(!weight.has_grad());
}

BOOST_AUTO_TEST_CASE(zero_grad_forgets_rows) {
  Variable weight = embedding_table();
  loss_of(embedding(weight, indices(word_ids), padding_idx)).backward();
  weight.zero_grad();
  BOOST_TEST(!weight.has_grad());
  BOOST_TEST(!weight.grad().defined());
}

BOOST_AUTO_TEST_CASE(batches_add_up_row_by_row) {
  const Variable weight = embedding_table();
  const std::vector<int32_t> others{4, 3, 0, 4};
  loss_of(embedding(weight, indices(word_ids), padding_idx)).backward();
  loss_of(embedding(weight, indices(others), padding_idx), 8).backward();
  BOOST_REQUIRE(weight.row_grad() != nullptr);
  BOOST_TEST(weight.row_grad()->rows.to_vector<int32_t>() == (std::vector<int32_t>{1, 3, 4, 10}));
  BOOST_CHECK(values_of(weight.grad()) == sum_of(expected_gradient(word_ids), expected_gradient(others, 8)));
}

BOOST_AUTO_TEST_CASE(nothing_but_padding_gives_no_row) {
  const Variable weight = embedding_table();
  loss_of(embedding(weight, indices({0, 0}), padding_idx)).backward();
  BOOST_REQUIRE(weight.row_grad() != nullptr);
  BOOST_TEST(weight.row_grad()->rows.numel() == 0);
  BOOST_CHECK(values_of(weight.grad()) == std::vector<double>(vocab_size * hidden_size));
}

/// As the word embeddings of masked-language modelling, which are the decoder's weight too.
BOOST_AUTO_TEST_CASE(a_tied_table_has_a_whole_gradient) {
  const Variable weight = embedding_table(), hidden = Variable(random_tensor({2, hidden_size}, 3));
  const auto decoded = [&] { return normtune::matmul(hidden, weight, false, true); };
  const auto gradient_of = [&](const Variable& loss) {
    Variable leaf = weight;
    leaf.zero_grad();
    loss.backward();
    return values_of(leaf.grad());
  };
  const std::vector<double> of_decoder = gradient_of(loss_of(decoded(), 9));
  const auto looked_up = [&] { return embedding(weight, indices(word_ids), padding_idx); };
  const std::vector<double> expected = sum_of(of_decoder, expected_gradient(word_ids));
  BOOST_CHECK(gradient_of(add(loss_of(looked_up()), loss_of(decoded(), 9))) == expected);
  BOOST_CHECK(gradient_of(add(loss_of(decoded(), 9), loss_of(looked_up()))) == expected);
}

BOOST_AUTO_TEST_CASE(a_table_that_is_no_leaf_passes_a_whole_gradient_on) {
  const Variable weight = embedding_table();
  loss_of(embedding(scale(weight, 2), indices(word_ids), padding_idx)).backward();
  BOOST_TEST(weight.row_grad() == nullptr);
  std::vector<double> expected = expected_gradient(word_ids);
  for (double& value : expected) value *= 2;
  BOOST_CHECK(values_of(weight.grad()) == expected);
}

BOOST_AUTO_TEST_CASE(squares_of_examples_are_whole) {
  const Variable word = embedding_table(), position(random_tensor({6, hidden_size}, 2)),
                 type(random_tensor({1, hidden_size}, 3)), gain(random_tensor({hidden_size}, 4)),
                 bias(random_tensor({hidden_size}, 5));
  const auto embedded = [&] {
    return normtune::embeddings_layer_norm(word, position, type, indices(word_ids),
                                           indices({0, 1, 2, 3, 4, 5}), indices({0, 0, 0, 0, 0, 0}), gain,
                                           bias, 1e-5, {}, padding_idx);
  };
  loss_of(embedded()).backward_squares(indices({0, 6}));
  BOOST_TEST(word.row_grad() == nullptr);
  const std::vector<double> squares = values_of(word.grad());

  Variable again = word;
  again.zero_grad();
  loss_of(embedded()).backward();
  BOOST_TEST(word.row_grad() != nullptr);
  std::vector<double> expected = values_of(word.grad());
  for (double& value : expected) value *= value;
  BOOST_TEST(largest_error(squares, expected) < 1e-12);
}

BOOST_AUTO_TEST_SUITE_END()
