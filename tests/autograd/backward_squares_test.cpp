// Squared gradients of single examples, in one pass, against one backward pass for each example.

#include <functional>
#include <string>
#include <utility>

#include "autograd/activation_linear.h"
#include "autograd/dropout_residual_layer_norm.h"
#include "autograd/embeddings_layer_norm.h"
#include "autograd/layer_norm.h"
#include "autograd/linear.h"
#include "autograd/low_rank_update.h"
#include "autograd/matmul.h"
#include "autograd/multiply.h"
#include "autograd/scale.h"
#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

const std::vector<int32_t> bounds = {0, 4, 5, 11};

/// The output of an op on the rows [begin, end) of its inputs, for given parameters.
using RowsFunction =
    std::function<Variable(const std::vector<Variable>& parameters, int64_t begin, int64_t end)>;

std::vector<Variable> trainable(const std::vector<Tensor>& values) {
  std::vector<Variable> parameters;
  for (const Tensor& value : values) parameters.emplace_back(value.clone(), /*requires_grad=*/true);
  return parameters;
}

/// The weighted sum of the output; the weights depend on the row alone.
Variable weighted_sum(const Variable& output, int64_t begin, int64_t end) {
  const Tensor all = random_tensor({bounds.back(), output.size(1)}, 99);
  return sum(multiply(output, Variable(all.slice(begin, end).clone())));
}

std::vector<std::vector<double>> loop_of_backward_passes(const std::vector<Tensor>& values,
                                                         const RowsFunction& function) {
  std::vector<std::vector<double>> squares;
  for (const Tensor& value : values) squares.emplace_back(static_cast<size_t>(value.numel()), 0.0);
  for (size_t e = 0; e + 1 < bounds.size(); ++e) {
    const std::vector<Variable> parameters = trainable(values);
    weighted_sum(function(parameters, bounds[e], bounds[e + 1]), bounds[e], bounds[e + 1]).backward();
    for (size_t i = 0; i < parameters.size(); ++i) {
      const std::vector<double> gradient = values_of(parameters[i].grad());
      for (size_t j = 0; j < gradient.size(); ++j) squares[i][j] += gradient[j] * gradient[j];
    }
  }
  return squares;
}

void check_squares(const std::string& op, const std::vector<Tensor>& values, const RowsFunction& function) {
  const std::vector<Variable> parameters = trainable(values);
  weighted_sum(function(parameters, 0, bounds.back()), 0, bounds.back()).backward_squares(indices(bounds));
  const std::vector<std::vector<double>> expected = loop_of_backward_passes(values, function);
  for (size_t i = 0; i < parameters.size(); ++i) {
    BOOST_TEST_CONTEXT(op << ", parameter " << i) {
      BOOST_CHECK(largest_error(values_of(parameters[i].grad()), expected[i]) <= 1e-12);
    }
  }
}

/// Rows [begin, end) of a constant input.
Variable rows_of(const Tensor& input, int64_t begin, int64_t end) {
  return Variable(input.slice(begin, end).clone());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(backward_squares)

BOOST_AUTO_TEST_CASE(linear_layers) {
  const Tensor x = random_tensor({11, 3}, 1);
  check_squares("linear", {random_tensor({5, 3}, 2), random_tensor({2, 3}, 3), random_tensor({5}, 4)},
                [&](const std::vector<Variable>& p, int64_t begin, int64_t end) {
                  return linear(rows_of(x, begin, end), {p[0], p[1]}, {p[2], Variable()});
                });
  check_squares("activation_linear", {random_tensor({5, 3}, 2), random_tensor({5}, 4)},
                [&](const std::vector<Variable>& p, int64_t begin, int64_t end) {
                  return activation_linear(rows_of(x, begin, end), Activation::gelu, p[0], p[1]);
                });
}

BOOST_AUTO_TEST_CASE(low_rank_updates) {
  const Tensor base = random_tensor({11, 9}, 1), x = random_tensor({11, 7}, 2);
  check_squares("low_rank_update", {random_tensor({2, 7}, 3), random_tensor({5, 2}, 4)},
                [&](const std::vector<Variable>& p, int64_t begin, int64_t end) {
                  return low_rank_update(rows_of(base, begin, end), rows_of(x, begin, end), p[0], p[1], 0.3,
                                         /*column=*/3);
                });
}

BOOST_AUTO_TEST_CASE(layer_norms) {
  const Tensor x = random_tensor({11, 7}, 1), residual = random_tensor({11, 7}, 2);
  const std::vector<Tensor> gain_and_bias = {random_tensor({7}, 3), random_tensor({7}, 4)};
  check_squares("layer_norm", gain_and_bias, [&](const std::vector<Variable>& p, int64_t begin, int64_t end) {
    return layer_norm(rows_of(x, begin, end), p[0], p[1], 1e-12);
  });
  check_squares("dropout_residual_layer_norm", gain_and_bias,
                [&](const std::vector<Variable>& p, int64_t begin, int64_t end) {
                  return dropout_residual_layer_norm(rows_of(x, begin, end), rows_of(residual, begin, end),
                                                     p[0], p[1], 1e-12, {});
                });
}

BOOST_AUTO_TEST_CASE(embeddings_and_the_padding_row) {
  const Tensor ids = indices({0, 2, 2, 1, 2, 1, 1, 0, 1, 3, 2});
  const Tensor positions = indices({0, 1, 2, 3, 0, 0, 1, 2, 3, 4, 5});
  const Tensor types = indices({0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1});
  check_squares("embeddings_layer_norm",
                {random_tensor({4, 6}, 1), random_tensor({6, 6}, 2), random_tensor({2, 6}, 3),
                 random_tensor({6}, 4), random_tensor({6}, 5)},
                [&](const std::vector<Variable>& p, int64_t begin, int64_t end) {
                  return embeddings_layer_norm(p[0], p[1], p[2], ids.slice(begin, end),
                                               positions.slice(begin, end), types.slice(begin, end), p[3],
                                               p[4], 1e-12, {}, /*padding_idx=*/0);
                });
}

BOOST_AUTO_TEST_CASE(several_layers_and_a_second_batch_are_added) {
  const Tensor x = random_tensor({11, 3}, 1);
  const std::vector<Tensor> values = {random_tensor({4, 3}, 2), random_tensor({4}, 3), random_tensor({4}, 4),
                                      random_tensor({4}, 5), random_tensor({2, 4}, 6)};
  const RowsFunction layers = [&](const std::vector<Variable>& p, int64_t begin, int64_t end) {
    const Variable hidden = layer_norm(linear(rows_of(x, begin, end), p[0], p[1]), p[2], p[3], 1e-12);
    return linear(hidden, p[4], Variable());
  };
  check_squares("layers", values, layers);

  const std::vector<Variable> parameters = trainable(values);
  for (int batch = 0; batch < 2; ++batch) {
    weighted_sum(layers(parameters, 0, 11), 0, 11).backward_squares(indices(bounds));
  }
  const std::vector<std::vector<double>> once = loop_of_backward_passes(values, layers);
  for (size_t i = 0; i < values.size(); ++i) {
    std::vector<double> twice = once[i];
    for (double& value : twice) value *= 2;
    BOOST_CHECK(largest_error(values_of(parameters[i].grad()), twice) <= 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(what_has_no_squares_is_refused) {
  const Variable x(random_tensor({11, 3}, 1));
  const Tensor cu_seqlens = indices(bounds);
  const auto refuses = [&](const Variable& output, const std::string& reason) {
    BOOST_CHECK_EXCEPTION(sum(output).backward_squares(cu_seqlens), std::logic_error, says(reason));
  };
  const Variable weight(random_tensor({3, 3}, 2), true);
  refuses(matmul(x, weight, false, true), "matmul has no squared gradients of single examples for input 1");
  refuses(linear(x, scale(weight, 2), Variable()), "input 1, which is not a leaf");
  refuses(linear(linear(x, weight, Variable()), weight, Variable()), "used twice");
  const Variable rows(random_tensor({7, 3}, 3));
  BOOST_CHECK_EXCEPTION(sum(linear(rows, weight, Variable())).backward_squares(cu_seqlens),
                        std::invalid_argument,
                        says("expected 11 rows (all tokens) or 3 (one for each example), found 7"));
  BOOST_CHECK_THROW(sum(linear(x, weight, Variable())).backward_squares(Tensor()), std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
