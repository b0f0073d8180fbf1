#include <cmath>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(optimizer)

namespace {

struct Hyper {
  double lr = 1e-2, beta1 = 0.9, beta2 = 0.999, eps = 1e-6, weight_decay = 0.1, gradient_scale = 0.5;
};

/// One element's state under the update rules as they are written in the papers and libraries.
struct Element {
  double p, m = 0, v = 0;

  void step(AdamWVariant variant, const Hyper& h, double gradient, int64_t t) {
    const double g = h.gradient_scale * gradient;
    m = h.beta1 * m + (1 - h.beta1) * g;
    v = h.beta2 * v + (1 - h.beta2) * g * g;
    const double correction1 = 1 - std::pow(h.beta1, t), correction2 = 1 - std::pow(h.beta2, t);
    switch (variant) {
      case AdamWVariant::torch:
        p -= h.lr * h.weight_decay * p;
        p -= h.lr * (m / correction1) / (std::sqrt(v / correction2) + h.eps);
        break;
      case AdamWVariant::hf:
        p -= h.lr * std::sqrt(correction2) / correction1 * m / (std::sqrt(v) + h.eps);
        p -= h.lr * h.weight_decay * p;
        break;
      case AdamWVariant::bert:
        p -= h.lr * m / (std::sqrt(v) + h.eps);
        p -= h.lr * h.weight_decay * p;
        break;
    }
  }
};

constexpr AdamWVariant all_variants[] = {AdamWVariant::torch, AdamWVariant::hf, AdamWVariant::bert};

struct State {
  Tensor parameter, first_moment, second_moment;

  State(const Tensor& initial, int64_t moments)
      : parameter(initial.clone()),
        first_moment(Tensor::zeros({moments}, initial.dtype())),
        second_moment(Tensor::zeros({moments}, initial.dtype())) {}

  void step(AdamWVariant variant, const Hyper& h, const Tensor& gradient, const Tensor* indices,
            int64_t t) const {
    const AdamWRule rule{.variant = variant, .beta1 = h.beta1, .beta2 = h.beta2, .eps = h.eps};
    const Tensor factors = to_tensor({adamw_factors(rule, h.lr, h.weight_decay, t)});
    cpu().adamw_step({.tensors = {{.parameter = parameter,
                                   .gradient = gradient,
                                   .first_moment = first_moment,
                                   .second_moment = second_moment,
                                   .indices = indices,
                                   .factors = factors}},
                      .gradient_scale = Tensor::full({}, h.gradient_scale, DType::float64)});
  }
};

std::vector<int64_t> every_third(int64_t size) {
  std::vector<int64_t> index;
  for (int64_t i = 1; i < size; i += 3) index.push_back(i);
  return index;
}

}  // namespace

BOOST_AUTO_TEST_CASE(adamw_follows_its_rules) {
  for_each_setting([](DType dtype) {
    for (const AdamWVariant variant : all_variants) {
      for (const int64_t size : {1, 50, 20'011}) {
        const Tensor initial = random_tensor({size}, dtype, 1);
        const State state(initial, size);
        std::vector<Element> elements;
        for (const double p : values_of(initial)) elements.push_back({p});
        for (int64_t t = 1; t <= 5; ++t) {
          const Tensor gradient = random_tensor({size}, dtype, 10 + t, 0.1);
          const std::vector<double> g = values_of(gradient);
          for (size_t i = 0; i < g.size(); ++i) elements[i].step(variant, {}, g[i], t);
          state.step(variant, {}, gradient, nullptr, t);
        }
        std::vector<double> p, m, v;
        for (const Element& element : elements) {
          p.push_back(element.p);
          m.push_back(element.m);
          v.push_back(element.v);
        }
        BOOST_CHECK(largest_error(values_of(state.parameter), p) <= elementwise.of(dtype));
        BOOST_CHECK(largest_error(values_of(state.first_moment), m) <= elementwise.of(dtype));
        BOOST_CHECK(largest_error(values_of(state.second_moment), v) <= elementwise.of(dtype));
      }
    }
  });
}

/// Listed elements move as they do in a whole update, all others keep their bits.
BOOST_AUTO_TEST_CASE(adamw_moves_listed_elements_only) {
  for_each_setting([](DType dtype) {
    for (const AdamWVariant variant : all_variants) {
      const int64_t size = 4001;
      const std::vector<int64_t> listed = every_third(size);
      const Tensor initial = random_tensor({size}, dtype, 1), index = indices64(listed);
      const State whole(initial, size), part(initial, index.numel());
      for (int64_t t = 1; t <= 3; ++t) {
        const Tensor gradient = random_tensor({size}, dtype, 10 + t);
        whole.step(variant, {}, gradient, nullptr, t);
        part.step(variant, {}, gradient, &index, t);
      }
      const std::vector<double> moved = values_of(whole.parameter), found = values_of(part.parameter);
      const std::vector<double> before = values_of(initial), moment = values_of(whole.second_moment);
      std::vector<double> expected = before, expected_moment;
      for (const int64_t i : listed) {
        expected[static_cast<size_t>(i)] = moved[static_cast<size_t>(i)];
        expected_moment.push_back(moment[static_cast<size_t>(i)]);
      }
      BOOST_CHECK(largest_error(found, expected) <= elementwise.of(dtype));
      BOOST_CHECK(largest_error(values_of(part.second_moment), expected_moment) <= elementwise.of(dtype));
      size_t strays = 0;
      for (size_t i = 0; i < found.size(); ++i) strays += i % 3 != 1 && found[i] != before[i];
      BOOST_TEST(strays == 0u);
    }
  });
}

BOOST_AUTO_TEST_CASE(zero_gradients_only_decay) {
  for_each_setting([](DType dtype) {
    for (const AdamWVariant variant : all_variants) {
      const Tensor initial = random_tensor({33}, dtype, 1), zero = Tensor::zeros({33}, dtype);
      const State still(initial, 33);
      still.step(variant, {.weight_decay = 0}, zero, nullptr, 1);
      BOOST_TEST(equal_bits(still.parameter, initial));
      const State decaying(initial, 33);
      decaying.step(variant, {}, zero, nullptr, 1);
      std::vector<double> expected = values_of(initial);
      for (double& p : expected) p *= 1 - 1e-2 * 0.1;
      BOOST_CHECK(largest_error(values_of(decaying.parameter), expected) <= elementwise.of(dtype));
    }
  });
}

/// The first step of Adam has size lr whatever the gradient's size, as long as eps is small beside it.
BOOST_AUTO_TEST_CASE(tiny_and_huge_gradients_move_by_the_learning_rate) {
  for_each_setting([](DType dtype) {
    for (const double gradient : {1e-12, 1e-3, 1e12}) {
      const State state(Tensor::full({20}, 0, dtype), 20);
      const Hyper h{.lr = 0.5, .eps = 1e-20, .weight_decay = 0, .gradient_scale = 1};
      state.step(AdamWVariant::torch, h, Tensor::full({20}, gradient, dtype), nullptr, 1);
      for (const double p : values_of(state.parameter)) BOOST_CHECK(std::abs(p + 0.5) <= 1e-5);
    }
  });
}

BOOST_AUTO_TEST_CASE(nothing_moves_where_the_scale_is_not_finite) {
  for_each_setting([](DType dtype) {
    for (const double scale : {std::nan(""), HUGE_VAL}) {
      const Tensor initial = random_tensor({33}, dtype, 1), gradient = random_tensor({33}, dtype, 2);
      const State state(initial, 33);
      state.step(AdamWVariant::torch, {.gradient_scale = scale}, gradient, nullptr, 1);
      BOOST_TEST(equal_bits(state.parameter, initial));
      BOOST_TEST(equal_bits(state.first_moment, Tensor::zeros({33}, dtype)));
      BOOST_TEST(equal_bits(state.second_moment, Tensor::zeros({33}, dtype)));
      cpu().sgd_step({.tensors = {{.parameter = state.parameter,
                                   .gradient = gradient,
                                   .indices = nullptr,
                                   .weight_decay = 0.01}},
                      .lr = Tensor::full({}, 0.1, DType::float64),
                      .gradient_scale = Tensor::full({}, scale, DType::float64)});
      BOOST_TEST(equal_bits(state.parameter, initial));
    }
  });
}

BOOST_AUTO_TEST_CASE(clipping_factors) {
  const double infinity = HUGE_VAL, nan = std::nan("");
  const auto factor = [](const std::vector<double>& squares, const std::vector<double>& losses, DType dtype,
                         double max_norm) {
    const Tensor squared_norms = Tensor::from_values({std::ssize(squares)}, squares),
                 all_losses = Tensor::from_values({std::ssize(losses)}, losses).to(dtype),
                 result = Tensor::empty({}, DType::float64);
    cpu().clipping_factor(
        {.squared_norms = squared_norms, .losses = all_losses, .max_norm = max_norm, .factor = result});
    return result.item();
  };
  for_each_setting([&](DType dtype) {
    BOOST_TEST(factor({9, 16}, {1}, dtype, 1) == 1 / (5 + 1e-6));
    BOOST_TEST(factor({9, 16}, {1, 2}, dtype, 7) == 1);
    BOOST_TEST(factor({9e200, 16e200}, {1}, dtype, 0) == 1);  // no clipping
    BOOST_TEST(factor({0}, {0}, dtype, 1) == 1);
    BOOST_TEST(factor({}, {0}, dtype, 1) == 1);
    for (const double bad : {infinity, nan}) {
      BOOST_TEST(std::isnan(factor({9, bad}, {1}, dtype, 1)));
      BOOST_TEST(std::isnan(factor({9, bad}, {1}, dtype, 0)));
      BOOST_TEST(std::isnan(factor({9}, {1, bad}, dtype, 1)));
    }
    BOOST_TEST(std::isnan(factor({9}, {infinity, -infinity}, dtype, 1)));
  });
}

BOOST_AUTO_TEST_CASE(sgd) {
  for_each_setting([](DType dtype) {
    const int64_t size = 1003;
    const Tensor initial = random_tensor({size}, dtype, 1), gradient = random_tensor({size}, dtype, 2);
    const std::vector<double> p = values_of(initial), g = values_of(gradient);
    std::vector<double> moved(p), listed_only(p);
    for (size_t i = 0; i < p.size(); ++i) moved[i] -= 0.1 * (0.5 * g[i] + 0.01 * p[i]);
    for (const int64_t i : every_third(size))
      listed_only[static_cast<size_t>(i)] = moved[static_cast<size_t>(i)];
    const Tensor index = indices64(every_third(size));
    for (const Tensor* indices : {static_cast<const Tensor*>(nullptr), &index}) {
      const Tensor parameter = initial.clone();
      cpu().sgd_step(
          {.tensors =
               {{.parameter = parameter, .gradient = gradient, .indices = indices, .weight_decay = 0.01}},
           .lr = Tensor::full({}, 0.1, DType::float64),
           .gradient_scale = Tensor::full({}, 0.5, DType::float64)});
      BOOST_CHECK(largest_error(values_of(parameter), indices == nullptr ? moved : listed_only) <=
                  elementwise.of(dtype));
    }
  });
}

BOOST_AUTO_TEST_SUITE_END()
