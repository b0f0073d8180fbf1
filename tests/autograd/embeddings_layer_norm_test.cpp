#include "autograd/embeddings_layer_norm.h"

#include "autograd/add.h"
#include "autograd/dropout.h"
#include "autograd/embedding.h"
#include "autograd/layer_norm.h"
#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

constexpr double layer_norm_eps = 1e-12;

struct Ids {
  std::vector<int32_t> words, positions, token_types;
};

/// Inputs: word, position and token type table, weight, bias.
Variable fused(const std::vector<Variable>& x, const Ids& ids, const DropoutMask& mask, int64_t padding_idx) {
  return embeddings_layer_norm(x[0], x[1], x[2], indices(ids.words), indices(ids.positions),
                               indices(ids.token_types), x[3], x[4], layer_norm_eps, mask, padding_idx);
}

Variable composed(const std::vector<Variable>& x, const Ids& ids, const DropoutMask& mask,
                  int64_t padding_idx) {
  const Variable words = embedding(x[0], indices(ids.words), padding_idx);
  const Variable positions = embedding(x[1], indices(ids.positions));
  const Variable token_types = embedding(x[2], indices(ids.token_types));
  return normtune::dropout(layer_norm(add(add(words, positions), token_types), x[3], x[4], layer_norm_eps),
                           mask);
}

std::vector<Tensor> tables(int64_t vocab_size, int64_t max_positions, int64_t token_types,
                           int64_t hidden_size) {
  return {random_slice({vocab_size, hidden_size}), random_tensor({max_positions, hidden_size}, 2),
          random_tensor({token_types, hidden_size}, 3), random_tensor({hidden_size}, 4),
          random_tensor({hidden_size}, 5)};
}

OpCase embeddings_case(std::string variant, const std::vector<Tensor>& inputs, const Ids& ids,
                       const DropoutMask& mask) {
  return {"embeddings_layer_norm", std::move(variant), inputs,
          [=](const auto& x) { return fused(x, ids, mask, -1); },
          [=](const auto& x) { return composed(x, ids, mask, -1); }};
}

const Ids ids{{3, 1, 1, 10, 0}, {0, 1, 2, 0, 1}, {0, 0, 1, 0, 1}};

const RegisterOpCases embeddings_layer_norm_cases{
    embeddings_case("no dropout", tables(11, 3, 2, 7), ids, {}),
    embeddings_case("dropout", tables(11, 3, 2, 5), ids, random_mask(5, 0.3)),
    embeddings_case("one token, one token type", tables(2, 1, 1, 13), {{1}, {0}, {0}}, random_mask(1, 0.1)),
};

std::vector<Variable> variables(bool requires_grad) {
  std::vector<Variable> result;
  for (const Tensor& table : tables(11, 3, 2, 8)) result.emplace_back(table.clone(), requires_grad);
  return result;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(embeddings_layer_norm)

using normtune::embeddings_layer_norm;  // the suite hides it

BOOST_AUTO_TEST_CASE(the_padding_row_gets_no_gradient) {
  const std::vector<Variable> found = variables(true), expected = variables(true);
  const DropoutMask mask = random_mask(5, 0.3);
  sum(fused(found, ids, mask, 1)).backward();
  sum(composed(expected, ids, mask, 1)).backward();
  for (size_t i = 0; i < found.size(); ++i) {
    BOOST_CHECK_LE(largest_error(values_of(found[i].grad()), values_of(expected[i].grad())), 1e-12);
  }
  const auto grad = values_of(found[0].grad());
  BOOST_CHECK(std::vector<double>(grad.begin() + 8, grad.begin() + 16) == std::vector<double>(8, 0.0));
}

BOOST_AUTO_TEST_CASE(frozen_embeddings_record_nothing) {
  const Variable output = fused(variables(false), ids, random_mask(5, 0.3), 0);
  BOOST_CHECK(output.is_leaf() && !output.requires_grad());
}

BOOST_AUTO_TEST_CASE(each_trainable_part_saves_what_it_needs) {
  const size_t normalized = (5 * 8 + 5) * sizeof(double), id_bytes = 5 * sizeof(int32_t);
  // A table: normalized rows, their scale and its ids; the gain: the rows; the bias: nothing.
  const size_t expected[] = {normalized + id_bytes, normalized + id_bytes, normalized + id_bytes, normalized,
                             0};
  for (size_t i = 0; i < 5; ++i) {
    std::vector<Variable> x = variables(false);
    x[i].set_requires_grad(true);
    BOOST_TEST_CONTEXT("input " << i)
    BOOST_TEST(saved_bytes(fused(x, ids, {}, -1), std::vector{x[3]}) == expected[i]);
  }
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused) {
  const std::string op = "embeddings_layer_norm: ";
  const auto with = [](size_t i, const Tensor& replacement) {
    std::vector<Variable> x = variables(false);
    x[i] = replacement.defined() ? Variable(replacement) : Variable();
    return x;
  };
  const auto apply = [](const std::vector<Variable>& x, const Ids& some_ids, const DropoutMask& mask = {}) {
    fused(x, some_ids, mask, -1);
  };
  BOOST_CHECK_EXCEPTION(apply(with(0, Tensor()), ids), std::invalid_argument,
                        says(op + "operand 0 is undefined"));
  BOOST_CHECK_EXCEPTION(apply(with(0, random_tensor({8})), ids), std::invalid_argument,
                        says(op + "expected word_weight with 2 dimensions, found shape [8]"));
  BOOST_CHECK_EXCEPTION(apply(with(1, random_tensor({8})), ids), std::invalid_argument,
                        says(op + "expected each table with 2 dimensions, found shape [8]"));
  BOOST_CHECK_EXCEPTION(apply(with(2, random_tensor({2, 7})), ids), std::invalid_argument,
                        says(op + "expected each table of shape [2, 8], found [2, 7]"));
  BOOST_CHECK_EXCEPTION(apply(with(3, random_tensor({7})), ids), std::invalid_argument,
                        says(op + "expected weight of shape [8], found [7]"));
  BOOST_CHECK_EXCEPTION(apply(with(4, random_tensor({7})), ids), std::invalid_argument,
                        says(op + "expected bias of shape [8], found [7]"));
  BOOST_CHECK_EXCEPTION(apply(with(4, random_tensor({8}, 1, DType::float32)), ids), std::invalid_argument,
                        says(op + "expected operands of one dtype"));

  const std::vector<Variable> x = variables(false);
  BOOST_CHECK_EXCEPTION(apply(x, {{11}, {0}, {0}}), std::invalid_argument,
                        says(op + "expected ids in [0, 11), found 11 at position 0"));
  BOOST_CHECK_EXCEPTION(apply(x, {{1}, {3}, {0}}), std::invalid_argument,
                        says(op + "expected position_ids in [0, 3), found 3 at position 0"));
  BOOST_CHECK_EXCEPTION(apply(x, {{1}, {0}, {-1}}), std::invalid_argument,
                        says(op + "expected token_type_ids in [0, 2), found -1 at position 0"));
  BOOST_CHECK_EXCEPTION(apply(x, {{1, 2}, {0}, {0, 0}}), std::invalid_argument,
                        says(op + "expected position_ids of shape [2], found [1]"));
  BOOST_CHECK_EXCEPTION(apply(x, ids, random_mask(4, 0.5)), std::invalid_argument,
                        says(op + "expected mask.example_ids of shape [5], found [4]"));
}

BOOST_AUTO_TEST_SUITE_END()
