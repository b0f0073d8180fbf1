#include "autograd/variable.h"

#include "autograd/add.h"
#include "autograd/multiply.h"
#include "autograd/reshape.h"
#include "autograd/scale.h"
#include "autograd/sum.h"
#include "op_cases.h"

using namespace normtune;
using namespace normtune::test;

namespace {

Variable leaf(std::vector<double> values) {
  const auto n = static_cast<int64_t>(values.size());
  return Variable(Tensor::from_values({n}, values), /*requires_grad=*/true);
}

size_t bytes_in_use() {
  return backend_of({}).allocator().stats().in_use;
}

/// Passes the gradient on, and tells what the engine does with it.
class ProbeBackward : public Node {
 public:
  explicit ProbeBackward(std::function<std::vector<Tensor>(Tensor)> backward)
      : backward_(std::move(backward)) {}
  std::string_view name() const override { return "probe"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }
  std::vector<Tensor> backward(Tensor grad_output) override { return backward_(std::move(grad_output)); }

 private:
  std::function<std::vector<Tensor>(Tensor)> backward_;
};

Variable probe(const Variable& input, std::function<std::vector<Tensor>(Tensor)> backward) {
  return record(input.tensor().clone(), {input}, [&] { return std::make_shared<ProbeBackward>(backward); });
}

/// Passes the gradient on, added in place to what later users of the input have found, if it can have that.
class InPlaceBackward : public Node {
 public:
  explicit InPlaceBackward(bool& in_place) : in_place_(in_place) {}
  std::string_view name() const override { return "in_place"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }
  std::vector<Tensor> backward(Tensor grad_output) override {
    Tensor grad = take_partial_grad(0);
    in_place_ = grad.defined();
    if (!in_place_) return {grad_output};
    grad.backend().add_scaled(grad_output, 1.0, grad);
    return {grad};
  }

 private:
  bool& in_place_;
};

Variable adding_in_place(const Variable& input, bool& in_place) {
  return record(input.tensor().clone(), {input}, [&] { return std::make_shared<InPlaceBackward>(in_place); });
}

}  // namespace

BOOST_AUTO_TEST_SUITE(variable)

BOOST_AUTO_TEST_CASE(the_example_of_the_header) {
  Variable weight(Tensor::full({3}, 2.0, DType::float64), /*requires_grad=*/true);
  Variable loss = sum(multiply(weight, weight));
  loss.backward();
  BOOST_CHECK(values_of(weight.grad()) == std::vector<double>(3, 4.0));
}

BOOST_AUTO_TEST_CASE(gradients_of_several_users_are_added) {
  const Variable x = leaf({2, 3});
  const Variable a = scale(x, 5), b = multiply(x, a);  // b = 5 x^2
  sum(add(add(b, x), a)).backward();                   // 10 x + 1 + 5
  BOOST_CHECK(values_of(x.grad()) == (std::vector<double>{26, 36}));
}

BOOST_AUTO_TEST_CASE(a_gradient_with_two_users_is_not_overwritten) {
  const Variable x = leaf({2, 3}), y = leaf({4, 5});
  sum(add(scale(x, 5), scale(y, 7))).backward();  // both get the gradient of the sum; scale works in place
  BOOST_CHECK(values_of(x.grad()) == (std::vector<double>{5, 5}));
  BOOST_CHECK(values_of(y.grad()) == (std::vector<double>{7, 7}));
}

BOOST_AUTO_TEST_CASE(gradients_with_other_users_are_not_added_in_place) {
  const Variable x = leaf({2, 3}), y = leaf({4, 5});
  const Variable a = scale(x, 1), b = scale(y, 1);
  sum(add(add(a, b), add(a, b))).backward();  // four handles to one gradient
  BOOST_CHECK(values_of(x.grad()) == (std::vector<double>{2, 2}));
  BOOST_CHECK(values_of(y.grad()) == (std::vector<double>{2, 2}));
}

BOOST_AUTO_TEST_CASE(two_backward_passes_accumulate) {
  const Variable x = leaf({2, 3});
  sum(scale(x, 5)).backward();
  sum(multiply(x, x)).backward();
  BOOST_CHECK(values_of(x.grad()) == (std::vector<double>{9, 11}));
}

BOOST_AUTO_TEST_CASE(zero_grad_forgets) {
  Variable x = leaf({2, 3});
  sum(x).backward();
  x.zero_grad();
  BOOST_CHECK(!x.grad().defined());
  sum(scale(x, 5)).backward();
  BOOST_CHECK(values_of(x.grad()) == (std::vector<double>{5, 5}));
}

BOOST_AUTO_TEST_CASE(leaves_do_not_share_a_gradient) {
  const Variable x = leaf({2, 3}), y = leaf({4, 5});
  sum(add(x, y)).backward();
  BOOST_CHECK(x.grad().storage() != y.grad().storage());
  const Tensor first = x.grad().clone();
  sum(add(x, y)).backward();
  BOOST_CHECK(values_of(y.grad()) == (std::vector<double>{2, 2}));
}

BOOST_AUTO_TEST_CASE(a_leaf_may_be_the_root) {
  const Variable x = leaf({7});
  x.backward();
  BOOST_TEST(x.grad().item() == 1);
}

BOOST_AUTO_TEST_CASE(backward_needs_one_element) {
  const Variable x = leaf({2, 3});
  BOOST_CHECK_EXCEPTION(scale(x, 2).backward(), std::invalid_argument,
                        says("backward: expected a variable with one element, found shape [2]"));
  BOOST_CHECK_EXCEPTION(Variable().backward(), std::invalid_argument,
                        says("backward: expected a variable with one element, found an undefined one"));
}

BOOST_AUTO_TEST_CASE(backward_needs_a_recorded_graph) {
  const Variable frozen(random_tensor({}));
  BOOST_CHECK_EXCEPTION(scale(frozen, 2).backward(), std::logic_error,
                        says("backward: no input of this variable requires a gradient"));
}

BOOST_AUTO_TEST_CASE(a_second_backward_is_refused) {
  const Variable x = leaf({2, 3});
  const Variable shared = multiply(x, x);
  sum(shared).backward();
  BOOST_CHECK_EXCEPTION(sum(scale(shared, 2)).backward(), std::logic_error,
                        says("backward: the saved tensors of multiply are released"));
}

BOOST_AUTO_TEST_CASE(nothing_is_recorded_below_the_lowest_trainable_variable) {
  const Variable frozen(random_tensor({2, 3})), trainable(random_tensor({2, 3}), /*requires_grad=*/true);
  const Variable below = multiply(scale(frozen, 2), frozen);
  BOOST_CHECK(below.is_leaf() && !below.requires_grad());
  const Variable above = multiply(below, trainable);
  BOOST_CHECK(!above.is_leaf() && above.requires_grad());
  BOOST_TEST(saved_bytes(above, std::vector{below}) == 0u);
  sum(above).backward();
  BOOST_CHECK(!frozen.grad().defined() && !below.grad().defined());
}

BOOST_AUTO_TEST_CASE(no_grad_guard_holds_for_its_scope) {
  const Variable x = leaf({2});
  BOOST_TEST(grad_enabled());
  {
    NoGradGuard outer;
    BOOST_TEST(!grad_enabled());
    { NoGradGuard inner; }
    BOOST_TEST(!grad_enabled());
    BOOST_TEST(!scale(x, 2).requires_grad());
  }
  BOOST_TEST(grad_enabled());
  BOOST_TEST(scale(x, 2).requires_grad());
}

BOOST_AUTO_TEST_CASE(detach_stops_the_gradient) {
  const Variable x = leaf({2, 3});
  BOOST_CHECK(!x.detach().requires_grad());
  BOOST_CHECK(x.detach().tensor().storage() == x.tensor().storage());
  sum(multiply(x, scale(x, 5).detach())).backward();
  BOOST_CHECK(values_of(x.grad()) == (std::vector<double>{10, 15}));
}

BOOST_AUTO_TEST_CASE(a_leaf_can_be_frozen_and_its_value_replaced) {
  Variable x = leaf({2, 3});
  x.set_requires_grad(false);
  BOOST_CHECK(scale(x, 2).is_leaf());
  x.set_requires_grad(true);
  x.set_tensor(Tensor::from_values({2}, std::vector<double>{7, 8}));
  BOOST_TEST(x.requires_grad());
  sum(multiply(x, x)).backward();
  BOOST_CHECK(values_of(x.grad()) == (std::vector<double>{14, 16}));
}

BOOST_AUTO_TEST_CASE(a_leaf_frozen_before_backward_gets_no_gradient) {
  Variable x = leaf({2, 3}), y = leaf({4, 5});
  const Variable loss = sum(multiply(x, y));
  x.set_requires_grad(false);
  loss.backward();
  BOOST_CHECK(!x.grad().defined());
  BOOST_CHECK(values_of(y.grad()) == (std::vector<double>{2, 3}));
}

BOOST_AUTO_TEST_CASE(results_and_integers_are_no_leaves_to_change) {
  Variable result = scale(leaf({2}), 2), ids(indices({1}));
  BOOST_CHECK_EXCEPTION(result.set_requires_grad(false), std::logic_error,
                        says("set_requires_grad: expected a leaf"));
  BOOST_CHECK_EXCEPTION(result.set_tensor(random_tensor({1})), std::logic_error,
                        says("set_tensor: expected a leaf"));
  BOOST_CHECK_EXCEPTION(ids.set_requires_grad(true), std::invalid_argument,
                        says("set_requires_grad: only floating-point tensors have a gradient, found int32"));
  BOOST_CHECK_EXCEPTION(ids.set_tensor(indices({1, 2})), std::invalid_argument,
                        says("set_tensor: expected shape [1], found [2]"));
  BOOST_CHECK_EXCEPTION(Variable(indices({1}), true), std::invalid_argument,
                        says("variable: only floating-point tensors have a gradient, found int32"));
  BOOST_CHECK_EXCEPTION(Variable(Tensor(), true), std::invalid_argument,
                        says("variable: expected a tensor, found an undefined one"));
}

BOOST_AUTO_TEST_CASE(an_op_without_a_derivative_is_refused_when_it_would_be_recorded) {
  const Variable x = leaf({2}), frozen(random_tensor({2}));
  BOOST_CHECK(!record_without_derivative("argmax", x.tensor(), std::vector{frozen}).requires_grad());
  BOOST_CHECK_EXCEPTION(record_without_derivative("argmax", x.tensor(), std::vector{frozen, x}),
                        std::logic_error,
                        says("argmax: has no derivative, but an input requires a gradient"));
  NoGradGuard no_grad;
  BOOST_CHECK(!record_without_derivative("argmax", x.tensor(), std::vector{x}).requires_grad());
}

BOOST_AUTO_TEST_CASE(a_node_that_computes_no_gradient_is_refused) {
  for (const std::vector<Tensor>& gradients : {std::vector<Tensor>{}, std::vector<Tensor>{Tensor()}}) {
    const Variable loss = sum(probe(leaf({2}), [&](Tensor) { return gradients; }));
    BOOST_CHECK_EXCEPTION(loss.backward(), std::logic_error,
                          says("backward: probe computed no gradient for input 0"));
  }
}

BOOST_AUTO_TEST_CASE(a_gradient_with_one_user_may_be_overwritten) {
  bool unique = false;
  const auto look = [&](Tensor grad_output) {
    unique = grad_output.is_unique();
    return std::vector<Tensor>{grad_output};
  };
  sum(scale(probe(leaf({2}), look), 2)).backward();
  BOOST_TEST(unique);
  const Variable x = leaf({2});
  // The first of two users of one gradient must leave it alone.
  const Variable first = scale(x, 1), second = probe(x, look);
  sum(add(second, first)).backward();
  BOOST_TEST(!unique);
}

BOOST_AUTO_TEST_CASE(a_gradient_is_added_in_place_to_that_of_later_users) {
  const Variable x = leaf({2, 3});
  const auto gradient = [&](const Variable& sum_of_users) {
    Variable(x).zero_grad();
    sum(sum_of_users).backward();
    return values_of(x.grad());
  };
  bool in_place = false;
  {
    const Variable y = scale(x, 5), first = adding_in_place(y, in_place), later = scale(y, 2);
    BOOST_CHECK(gradient(add(first, later)) == (std::vector<double>{15, 15}));
    BOOST_TEST(in_place);
  }
  {
    const Variable y = scale(x, 5), first = adding_in_place(y, in_place);
    BOOST_CHECK(gradient(first) == (std::vector<double>{5, 5}));
    BOOST_TEST(!in_place);  // no later user
  }
  {
    const Variable y = scale(x, 5), first = adding_in_place(y, in_place);
    BOOST_CHECK(gradient(add(first, y)) == (std::vector<double>{10, 10}));
    BOOST_TEST(!in_place);  // `first` and y get one tensor
  }
  {
    const Variable first = adding_in_place(x, in_place), later = scale(x, 2);
    BOOST_CHECK(gradient(add(first, later)) == (std::vector<double>{3, 3}));
    BOOST_TEST(!in_place);  // a leaf's gradient may hold that of another pass
  }
}

BOOST_AUTO_TEST_CASE(gradients_are_released_as_backward_consumes_them) {
  constexpr int64_t n = 100000;
  constexpr int length = 50;
  const Variable x(Tensor::full({n}, 1.0, DType::float64), /*requires_grad=*/true);
  Variable y = x;
  for (int i = 0; i < length; ++i) y = scale(y, 1.0);
  const Variable loss = sum(y);
  y = Variable();
  Allocator& allocator = backend_of({}).allocator();
  allocator.reset_peak();
  const size_t before = bytes_in_use();
  loss.backward();
  BOOST_TEST(allocator.stats().peak_in_use - before < 3 * n * sizeof(double));
}

BOOST_AUTO_TEST_CASE(saved_tensors_are_released_as_backward_consumes_them) {
  constexpr int64_t n = 100000;
  size_t upper = 0, lower = 0;
  const Variable x(Tensor::full({n}, 1.0, DType::float64), /*requires_grad=*/true);
  const auto remember = [](size_t& bytes) {
    return [&](Tensor grad_output) {
      bytes = bytes_in_use();
      return std::vector<Tensor>{grad_output};
    };
  };
  Variable y = probe(x, remember(lower));
  for (int i = 0; i < 10; ++i) y = multiply(y, y);
  Variable loss = sum(probe(y, remember(upper)));
  y = Variable();
  loss.backward();
  BOOST_TEST(upper >= lower + 9 * n * sizeof(double));
}

BOOST_AUTO_TEST_CASE(values_that_backward_does_not_need_are_not_kept) {
  constexpr int64_t n = 100000;
  const Variable x(Tensor::full({n}, 1.0, DType::float64), /*requires_grad=*/true);
  const size_t before = bytes_in_use();
  Variable y = x;
  for (int i = 0; i < 10; ++i) y = scale(y, 1.0);
  y = sum(y);
  BOOST_TEST(bytes_in_use() - before < n * sizeof(double));
}

BOOST_AUTO_TEST_CASE(a_long_chain_does_not_overflow_the_stack) {
  const Variable one(Tensor::full({}, 1.0, DType::float64), /*requires_grad=*/true);
  const size_t before = bytes_in_use();
  {
    Variable total = one;
    for (int i = 0; i < 100000; ++i) total = add(total, one);
    total.backward();
    BOOST_TEST(one.grad().item() == 100001);
  }
  {
    Variable never_played = one;
    for (int i = 0; i < 100000; ++i) never_played = scale(never_played, 1.0);
  }
  Variable(one).zero_grad();
  BOOST_TEST(bytes_in_use() == before);
}

BOOST_AUTO_TEST_CASE(each_storage_is_counted_once) {
  const Variable x(random_tensor({8}), /*requires_grad=*/true);
  const Variable y = multiply(multiply(x, x), reshape(x, {8}));
  // x serves both products; the inner product is kept for the outer.
  BOOST_TEST(saved_bytes(y, {}) == 2 * 64u);
  BOOST_TEST(saved_bytes(y, std::vector{x}) == 64u);
  BOOST_TEST(saved_bytes(x, {}) == 0u);
}

BOOST_AUTO_TEST_CASE(a_handle_is_unique_if_nobody_else_sees_the_value) {
  Variable x(random_tensor({4}));
  BOOST_TEST(x.is_unique());
  {
    const Variable copy = x;
    BOOST_TEST(!x.is_unique());
  }
  {
    const Tensor view = x.tensor().slice(1, 2);
    BOOST_TEST(!x.is_unique());
  }
  BOOST_TEST(x.is_unique());
}

BOOST_AUTO_TEST_SUITE_END()
