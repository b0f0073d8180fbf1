#include "autograd/packed_attention.h"

#include <cmath>

#include "autograd/add.h"
#include "autograd/concat_columns.h"
#include "autograd/gather_rows.h"
#include "autograd/matmul.h"
#include "autograd/multiply.h"
#include "autograd/scale.h"
#include "autograd/slice_columns.h"
#include "autograd/softmax.h"
#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

/// A matrix [num_queries, total_tokens] with `inside(query, key within its sequence)` for the pairs of one
/// sequence and `outside` elsewhere.
template <typename Function>
Variable pairs(const std::vector<int32_t>& query_bounds, const std::vector<int32_t>& bounds, double outside,
               Function&& inside) {
  const int64_t num_queries = query_bounds.back(), total = bounds.back();
  std::vector<double> values(num_queries * total, outside);
  for (size_t s = 0; s + 1 < bounds.size(); ++s) {
    for (int64_t i = query_bounds[s]; i < query_bounds[s + 1]; ++i) {
      for (int64_t j = bounds[s]; j < bounds[s + 1]; ++j) values[i * total + j] = inside(i, j - bounds[s]);
    }
  }
  return Variable(Tensor::from_values({num_queries, total}, values));
}

/// Attention from primitive ops: one S x S matrix for the whole batch, in which other sequences are masked
/// out.
Variable composed(const Variable& query, const Variable& key, const Variable& value,
                  const std::vector<int32_t>& query_bounds, const std::vector<int32_t>& bounds,
                  int64_t num_heads, const DropoutMask& mask) {
  const int64_t d = query.size(1) / num_heads;
  const Variable other_sequences = pairs(query_bounds, bounds, -1e30, [](int64_t, int64_t) { return 0.0; });
  std::vector<Variable> heads;
  for (int64_t head = 0; head < num_heads; ++head) {
    const auto part = [&](const Variable& x) { return slice_columns(x, head * d, (head + 1) * d); };
    const Variable scores =
        scale(normtune::matmul(part(query), part(key), false, true), 1 / std::sqrt(static_cast<double>(d)));
    Variable probs = softmax(add(scores, other_sequences));  // [num_queries, total_tokens]
    if (mask.active()) {
      const int64_t width = bounds.back();
      const auto factors = dropout_factors(mask, width, static_cast<uint32_t>(head)).to_vector<double>();
      probs = multiply(probs, pairs(query_bounds, bounds, 0.0,
                                    [&](int64_t i, int64_t j) { return factors[i * width + j]; }));
    }
    heads.push_back(normtune::matmul(probs, part(value)));
  }
  return concat_columns(heads);
}

OpCase self_attention_case(std::string variant, const std::vector<int32_t>& bounds, int64_t hidden_size,
                           int64_t num_heads, double probability) {
  const DropoutMask mask = random_mask(bounds.back(), probability);
  const int64_t h = hidden_size;
  return {"packed_self_attention",
          std::move(variant),
          {random_slice({bounds.back(), 3 * h})},
          [=](const auto& x) { return packed_self_attention(x[0], indices(bounds), num_heads, mask); },
          [=](const auto& x) {
            return composed(slice_columns(x[0], 0, h), slice_columns(x[0], h, 2 * h),
                            slice_columns(x[0], 2 * h, 3 * h), bounds, bounds, num_heads, mask);
          }};
}

OpCase attention_case(std::string variant, const std::vector<int32_t>& query_bounds,
                      const std::vector<int32_t>& bounds, int64_t hidden_size, int64_t num_heads,
                      double probability) {
  const DropoutMask mask = random_mask(query_bounds.back(), probability);
  const int64_t h = hidden_size;
  return {"packed_attention",
          std::move(variant),
          {random_tensor({query_bounds.back(), h}), random_slice({bounds.back(), 2 * h}, 2)},
          [=](const auto& x) {
            return packed_attention(x[0], x[1], indices(query_bounds), indices(bounds), num_heads, mask);
          },
          [=](const auto& x) {
            return composed(x[0], slice_columns(x[1], 0, h), slice_columns(x[1], h, 2 * h), query_bounds,
                            bounds, num_heads, mask);
          }};
}

const RegisterOpCases packed_attention_cases{
    self_attention_case("one sequence", {0, 5}, 6, 2, 0),
    self_attention_case("three sequences, one of length 1", {0, 3, 4, 11}, 6, 2, 0),
    self_attention_case("dropout", {0, 5, 6, 8}, 6, 3, 0.3),
    self_attention_case("one head of size 7", {0, 2, 5}, 7, 1, 0),
    self_attention_case("head size 1", {0, 3}, 3, 3, 0.2),
    self_attention_case("an empty sequence", {0, 3, 3, 5}, 4, 2, 0),
    self_attention_case("longer than a block of rows", {0, 67, 70}, 2, 1, 0.1),
    attention_case("one query a sequence", {0, 1, 2, 3}, {0, 5, 6, 9}, 6, 2, 0),
    attention_case("one query a sequence, dropout", {0, 1, 2}, {0, 7, 10}, 6, 3, 0.4),
    attention_case("all queries", {0, 3, 4}, {0, 3, 4}, 5, 1, 0),
    attention_case("fewer and more queries than keys", {0, 2, 5}, {0, 3, 4}, 4, 2, 0.2),
};

}  // namespace

BOOST_AUTO_TEST_SUITE(packed_attention)

using normtune::packed_attention;  // the suite hides it

BOOST_AUTO_TEST_CASE(a_sequence_alone_gives_the_same_bits_as_in_a_batch) {
  for (DType dtype : {DType::float32, DType::float64}) {
    const Tensor batch = random_tensor({11, 12}, 1, dtype);
    const DropoutMask mask = random_mask(11, 0.3);
    const Variable packed = packed_self_attention(Variable(batch), indices({0, 3, 7, 11}), 2, mask);
    DropoutMask own_mask = mask;
    own_mask.example_ids = mask.example_ids.slice(3, 7);
    own_mask.positions = mask.positions.slice(3, 7);
    const Variable alone = packed_self_attention(Variable(batch.slice(3, 7)), indices({0, 4}), 2, own_mask);
    BOOST_CHECK(values_of(alone.tensor()) == values_of(packed.tensor().slice(3, 7)));
  }
}

BOOST_AUTO_TEST_CASE(large_scores_stay_finite) {
  for (DType dtype : {DType::float32, DType::float64}) {
    const Tensor values = random_tensor({4, 6}, 1, dtype);
    values.backend().scale(values, 100.0, values);  // scores up to 4e4
    const Variable qkv(values, /*requires_grad=*/true);
    const Variable context = packed_self_attention(qkv, indices({0, 4}), 1, {});
    sum(context).backward();
    for (double value : values_of(context.tensor())) BOOST_CHECK(std::isfinite(value));
    for (double grad : values_of(qkv.grad())) BOOST_CHECK(std::isfinite(grad));
  }
}

BOOST_AUTO_TEST_CASE(equal_keys_average_the_values) {
  std::vector<double> values(3 * 6, 0.0);  // query and key zero
  for (int i = 0; i < 3; ++i) values[i * 6 + 4] = values[i * 6 + 5] = i;
  const Variable qkv(Tensor::from_values({3, 6}, values));
  const auto context = values_of(packed_self_attention(qkv, indices({0, 3}), 2, {}).tensor());
  BOOST_CHECK_LE(largest_error(context, std::vector<double>(6, 1.0)), 1e-15);
}

BOOST_AUTO_TEST_CASE(only_queries_keys_values_and_denominators_are_saved) {
  const Tensor bounds = indices({0, 3, 4});
  const Variable bounds_variable(bounds);
  const Variable qkv = random_variable({4, 12});
  const size_t denominators = 4 * 2 * sizeof(double);
  BOOST_TEST(saved_bytes(packed_self_attention(qkv, bounds, 2, {}), std::vector{bounds_variable}) ==
             qkv.tensor().nbytes() + denominators);
  const Variable query = random_variable({4, 4}), key_value = random_variable({4, 8});
  BOOST_TEST(
      saved_bytes(packed_attention(query, key_value, bounds, bounds, 2, {}), std::vector{bounds_variable}) ==
      query.tensor().nbytes() + key_value.tensor().nbytes() + denominators);
}

BOOST_AUTO_TEST_CASE(self_attention_refuses_what_does_not_fit) {
  const std::string op = "packed_self_attention: ";
  const auto apply = [](const Variable& qkv, const Tensor& bounds, int64_t num_heads,
                        const DropoutMask& mask = {}) {
    packed_self_attention(qkv, bounds, num_heads, mask);
  };
  const Variable qkv = random_variable({4, 12});
  BOOST_CHECK_EXCEPTION(apply(random_variable({4}), indices({0, 4}), 2), std::invalid_argument,
                        says(op + "expected qkv with 2 dimensions, found shape [4]"));
  BOOST_CHECK_EXCEPTION(apply(random_variable({4, 11}), indices({0, 4}), 2), std::invalid_argument,
                        says(op + "expected qkv with 3 * hidden_size columns, found 11"));
  for (int64_t num_heads : {0, 3, -2}) {
    BOOST_CHECK_EXCEPTION(apply(qkv, indices({0, 4}), num_heads), std::invalid_argument,
                          says(op + "expected num_heads to divide hidden_size 4"));
  }
  BOOST_CHECK_EXCEPTION(apply(qkv, indices({0, 3}), 2), std::invalid_argument,
                        says(op + "expected cu_seqlens from 0 to 4, found 0 to 3"));
  BOOST_CHECK_EXCEPTION(apply(qkv, indices({1, 4}), 2), std::invalid_argument,
                        says(op + "expected cu_seqlens from 0 to 4, found 1 to 4"));
  BOOST_CHECK_EXCEPTION(apply(qkv, indices({0, 5, 4}), 2), std::invalid_argument,
                        says(op + "expected cu_seqlens that never falls, found 4 after 5 at position 2"));
  BOOST_CHECK_EXCEPTION(apply(qkv, Tensor(), 2), std::invalid_argument, says(op + "cu_seqlens is undefined"));
  BOOST_CHECK_EXCEPTION(apply(qkv, indices({}), 2), std::invalid_argument,
                        says(op + "expected cu_seqlens with at least one bound"));
  BOOST_CHECK_EXCEPTION(apply(qkv, indices({0, 4}).reshape({1, 2}), 2), std::invalid_argument,
                        says(op + "expected cu_seqlens with 1 dimensions, found shape [1, 2]"));
  BOOST_CHECK_EXCEPTION(apply(qkv, indices({0, 4}), 2, random_mask(3, 0.5)), std::invalid_argument,
                        says(op + "expected mask.example_ids of shape [4], found [3]"));
  BOOST_CHECK_EXCEPTION(apply(Variable(), indices({0, 4}), 2), std::invalid_argument,
                        says(op + "operand 0 is undefined"));
}

BOOST_AUTO_TEST_CASE(attention_refuses_what_does_not_fit) {
  const std::string op = "packed_attention: ";
  const auto apply = [](const Variable& query, const Variable& key_value, const Tensor& query_bounds,
                        const Tensor& bounds, int64_t num_heads = 2, const DropoutMask& mask = {}) {
    packed_attention(query, key_value, query_bounds, bounds, num_heads, mask);
  };
  const Variable query = random_variable({2, 4}), key_value = random_variable({5, 8});
  const Tensor one_each = indices({0, 1, 2}), bounds = indices({0, 3, 5});
  BOOST_CHECK_EXCEPTION(apply(random_variable({4}), key_value, one_each, bounds), std::invalid_argument,
                        says(op + "expected query with 2 dimensions"));
  BOOST_CHECK_EXCEPTION(apply(query, random_variable({8}), one_each, bounds), std::invalid_argument,
                        says(op + "expected key_value with 2 dimensions"));
  BOOST_CHECK_EXCEPTION(apply(query, random_variable({5, 7}), one_each, bounds), std::invalid_argument,
                        says(op + "expected key_value of shape [5, 8], found [5, 7]"));
  BOOST_CHECK_EXCEPTION(apply(query, key_value, one_each, bounds, 3), std::invalid_argument,
                        says(op + "expected num_heads to divide hidden_size 4"));
  BOOST_CHECK_EXCEPTION(apply(query, key_value, indices({0, 1, 3}), bounds), std::invalid_argument,
                        says(op + "expected query_cu_seqlens from 0 to 2, found 0 to 3"));
  BOOST_CHECK_EXCEPTION(apply(query, key_value, one_each, indices({0, 3, 4})), std::invalid_argument,
                        says(op + "expected cu_seqlens from 0 to 5, found 0 to 4"));
  BOOST_CHECK_EXCEPTION(apply(query, key_value, indices({0, 2}), bounds), std::invalid_argument,
                        says(op + "expected query_cu_seqlens of shape [3], found [2]"));
  BOOST_CHECK_EXCEPTION(apply(query, key_value, one_each, bounds, 2, random_mask(5, 0.5)),
                        std::invalid_argument,
                        says(op + "expected mask.example_ids of shape [2], found [5]"));
  BOOST_CHECK_EXCEPTION(apply(query, Variable(random_tensor({5, 8}, 1, DType::float32)), one_each, bounds),
                        std::invalid_argument, says(op + "expected operands of one dtype"));
}

BOOST_AUTO_TEST_SUITE_END()
