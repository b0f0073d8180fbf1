#include "autograd/low_rank_update.h"

#include "autograd/add.h"
#include "autograd/concat_columns.h"
#include "autograd/linear.h"
#include "autograd/matmul.h"
#include "autograd/multiply.h"
#include "autograd/scale.h"
#include "autograd/slice_columns.h"
#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

constexpr double scaling = 0.3;

/// The same from primitive ops.
Variable composed_update(const Variable& base, const Variable& input, const Variable& lora_A,
                         const Variable& lora_B, int64_t column) {
  const int64_t end = column + lora_B.size(0);
  const Variable low_rank = matmul(input, lora_A, false, true);
  const Variable update = matmul(scale(low_rank, scaling), lora_B, false, true);
  std::vector<Variable> columns{add(slice_columns(base, column, end), update)};
  if (column > 0) columns.insert(columns.begin(), slice_columns(base, 0, column));
  if (end < base.size(1)) columns.push_back(slice_columns(base, end, base.size(1)));
  return concat_columns(columns);
}

struct Sizes {
  int64_t rows, n, k, r, m;
};

OpCase update_case(std::string variant, const Sizes& sizes, int64_t column) {
  return {"low_rank_update",
          std::move(variant),
          {random_slice({sizes.rows, sizes.n}), random_slice({sizes.rows, sizes.k}, 2),
           random_tensor({sizes.r, sizes.k}, 3), random_tensor({sizes.m, sizes.r}, 4)},
          [=](const auto& x) { return low_rank_update(x[0], x[1], x[2], x[3], scaling, column); },
          [=](const auto& x) { return composed_update(x[0], x[1], x[2], x[3], column); }};
}

const RegisterOpCases low_rank_update_cases{
    update_case("first columns", {.rows = 5, .n = 9, .k = 7, .r = 2, .m = 3}, 0),
    update_case("columns in the middle", {.rows = 7, .n = 11, .k = 3, .r = 2, .m = 5}, 3),
    update_case("last columns", {.rows = 3, .n = 9, .k = 5, .r = 2, .m = 3}, 6),
    update_case("all columns", {.rows = 5, .n = 3, .k = 7, .r = 2, .m = 3}, 0),
    update_case("one row, column and rank", {.rows = 1, .n = 3, .k = 2, .r = 1, .m = 1}, 1),
};

using Update = std::function<Variable(Variable base, const Variable& input, const Variable& lora_A,
                                      const Variable& lora_B, int64_t column)>;

Variable fused_update(Variable base, const Variable& input, const Variable& lora_A, const Variable& lora_B,
                      int64_t column) {
  return low_rank_update(std::move(base), input, lora_A, lora_B, scaling, column);
}

/// Output and gradients of a layer with two updates and a skip connection, hence four users of its input.
std::vector<Tensor> two_updates(const Update& update) {
  constexpr int64_t rows = 37, features = 400, r = 8, half = 200;  // features: more than one block of terms
  const auto parameter = [](const Shape& shape, uint64_t seed) {
    return random_variable(shape, seed, DType::float32);
  };
  const std::vector<Variable> leaves = {parameter({rows, features}, 1), parameter({features, features}, 2),
                                        parameter({r, features}, 3),    parameter({half, r}, 4),
                                        parameter({r, features}, 5),    parameter({half, r}, 6)};
  const Variable input = scale(leaves[0], 0.5);
  Variable output = normtune::linear(input, leaves[1], Variable());
  output = update(std::move(output), input, leaves[2], leaves[3], 0);
  output = update(std::move(output), input, leaves[4], leaves[5], half);
  output = add(output, input);
  sum(multiply(output, Variable(random_tensor(output.shape(), 99, DType::float32)))).backward();
  std::vector<Tensor> found{output.tensor()};
  for (const Variable& leaf : leaves) found.push_back(leaf.grad());
  return found;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(low_rank_update)

using normtune::low_rank_update;  // the suite hides it

BOOST_AUTO_TEST_CASE(the_bits_are_those_of_the_primitive_ops) {
  const std::vector<Tensor> found = two_updates(fused_update), expected = two_updates(composed_update);
  for (size_t i = 0; i < expected.size(); ++i) {
    BOOST_TEST_CONTEXT("tensor " << i)
    BOOST_CHECK(found[i].to_vector<float>() == expected[i].to_vector<float>());
  }
}

BOOST_AUTO_TEST_CASE(base_is_changed_in_place_only_where_nobody_looks) {
  const Variable input = random_variable({2, 5}), lora_A = random_variable({2, 5}),
                 lora_B = random_variable({1, 2});
  const auto update = [&](Variable base) {
    return low_rank_update(std::move(base), input, lora_A, lora_B, scaling, 0);
  };
  Variable given_up(random_tensor({2, 3}));
  const void* const memory = given_up.tensor().raw_data();
  BOOST_TEST(update(std::move(given_up)).tensor().raw_data() == memory);

  Variable kept(random_tensor({2, 3}));
  const std::vector<double> before = values_of(kept.tensor());
  update(kept);
  BOOST_CHECK(values_of(kept.tensor()) == before);

  Variable viewed(random_tensor({2, 3}));
  const Tensor view = viewed.tensor();
  update(std::move(viewed));
  BOOST_CHECK(values_of(view) == before);
}

BOOST_AUTO_TEST_CASE(only_what_the_gradients_need_is_saved) {
  const Variable input = random_variable({64, 16}), lora_A = random_variable({2, 16}),
                 lora_B = random_variable({8, 2});
  const auto saved = [](const Variable& x, const Variable& a, const Variable& b) {
    return saved_bytes(low_rank_update(random_variable({64, 8}), x, a, b, scaling, 0), {});
  };
  const size_t input_bytes = input.tensor().nbytes(), A_bytes = lora_A.tensor().nbytes(),
               B_bytes = lora_B.tensor().nbytes(), low_rank_bytes = 64 * 2 * sizeof(double);
  const Variable frozen_input = input.detach(), frozen_A = lora_A.detach(), frozen_B = lora_B.detach();
  BOOST_TEST(saved(input, lora_A, lora_B) == input_bytes + A_bytes + B_bytes + low_rank_bytes);
  BOOST_TEST(saved(input, frozen_A, frozen_B) == A_bytes + B_bytes);
  BOOST_TEST(saved(frozen_input, lora_A, frozen_B) == input_bytes + B_bytes);
  BOOST_TEST(saved(frozen_input, frozen_A, lora_B) == low_rank_bytes);
  BOOST_TEST(saved(frozen_input, frozen_A, frozen_B) == 0u);
}

BOOST_AUTO_TEST_CASE(operands_that_do_not_fit_are_refused) {
  const auto refuses = [](const Variable& base, const Variable& input, const Variable& lora_A,
                          const Variable& lora_B, int64_t column, const std::string& reason) {
    BOOST_CHECK_EXCEPTION(low_rank_update(base, input, lora_A, lora_B, scaling, column),
                          std::invalid_argument, says("low_rank_update: " + reason));
  };
  const Variable base = random_variable({2, 3}), input = random_variable({2, 5}),
                 lora_A = random_variable({4, 5}), lora_B = random_variable({2, 4});
  refuses(base, random_variable({3, 5}), lora_A, lora_B, 0, "expected input of shape [2, 5], found [3, 5]");
  refuses(base, input, random_variable({4, 6}), lora_B, 0, "expected lora_A of shape [4, 5], found [4, 6]");
  refuses(base, input, lora_A, random_variable({2, 3}), 0, "expected lora_B of shape [2, 4], found [2, 3]");
  refuses(base, input, lora_A, lora_B, 2, "expected columns in [0, 3), found [2, 4)");
  refuses(base, input, lora_A, lora_B, -1, "expected columns in [0, 3), found [-1, 1)");
  refuses(random_variable({6}), input, lora_A, lora_B, 0, "expected base with 2 dimensions, found shape [6]");
  refuses(base, random_variable({5}), lora_A, lora_B, 0, "expected input with 2 dimensions, found shape [5]");
  refuses(base, input, random_variable({5}), lora_B, 0, "expected lora_A with 2 dimensions, found shape [5]");
  refuses(base, input, lora_A, random_variable({2}), 0, "expected lora_B with 2 dimensions, found shape [2]");
  refuses(base, input, lora_A, Variable(), 0, "operand 3 is undefined");
  refuses(base, input, lora_A, random_variable({2, 4}, 1, DType::float32), 0,
          "expected operands of one dtype");
}

BOOST_AUTO_TEST_SUITE_END()
