#include "nn/optimizer.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace normtune {

namespace {

/// The update rules of the formats' section "Training behaviours", element by element, in double.
struct ReferenceOptimizer {
  OptimizerSettings settings;
  std::vector<double> m, v;
  int64_t t = 0;

  void step(std::vector<double>& p, const std::vector<double>& g, double lr, bool decays) {
    m.resize(p.size());
    v.resize(p.size());
    ++t;
    const double wd = decays ? settings.weight_decay : 0;
    for (size_t i = 0; i < p.size(); ++i) update(p[i], m[i], v[i], g[i], lr, wd);
  }

  void update(double& p, double& m_i, double& v_i, double g, double lr, double wd) const {
    const double b1 = settings.beta1, b2 = settings.beta2, eps = settings.eps;
    if (settings.kind == OptimizerKind::sgd) {
      p -= lr * (g + wd * p);
      return;
    }
    if (settings.kind == OptimizerKind::adamw_torch) p -= lr * wd * p;
    m_i = b1 * m_i + (1 - b1) * g;
    v_i = b2 * v_i + (1 - b2) * g * g;
    const double c1 = 1 - std::pow(b1, t), c2 = 1 - std::pow(b2, t);
    if (settings.kind == OptimizerKind::adamw_torch) {
      p -= lr * (m_i / c1) / (std::sqrt(v_i) / std::sqrt(c2) + eps);
      return;
    }
    const double correction = settings.kind == OptimizerKind::adamw_hf ? std::sqrt(c2) / c1 : 1;
    p -= lr * correction * m_i / (std::sqrt(v_i) + eps);
    p -= lr * wd * p;
  }
};

constexpr OptimizerKind all_kinds[] = {OptimizerKind::adamw_torch, OptimizerKind::adamw_hf,
                                       OptimizerKind::adamw_bert, OptimizerKind::sgd};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  std::vector<double> vector(size_t count) {
    std::vector<double> values(count);
    for (double& value : values) value = distribution_(engine_);
    return values;
  }

 private:
  std::mt19937_64 engine_;
  std::uniform_real_distribution<double> distribution_{-1, 1};
};

Variable make_variable(const std::vector<double>& values) {
  return Variable(Tensor::from_values({static_cast<int64_t>(values.size())}, values), true);
}

/// Gives a leaf the gradient g, as a backward() would.
void set_grad(const Variable& variable, const std::vector<double>& g) {
  variable.meta()->grad = Tensor::from_values(variable.shape(), g);
}

/// A table of float32, moved by an optimiser of its own.
struct MovedTable {
  static constexpr int64_t num_rows = 40, columns = 19;

  MovedTable(const OptimizerSettings& settings, bool decays, Tensor indices = {})
      : weight(values(1), true), optimizer({{"table", weight, std::move(indices), decays}}, settings) {}

  static Tensor values(uint64_t seed) {
    const Shape shape{num_rows, columns};
    return Tensor::from_values(shape, Random(seed).vector(static_cast<size_t>(shape.numel())))
        .to(DType::float32);
  }

  void step(double gradient_scale = 0.5) {
    optimizer.step(0.01, Tensor::full({}, gradient_scale, DType::float64));
  }

  /// Of the table and of its moments.
  std::vector<std::vector<float>> numbers() const {
    std::vector<std::vector<float>> all{weight.tensor().to_vector<float>()};
    for (const NamedTensor& moment : optimizer.state()) all.push_back(moment.tensor.to_vector<float>());
    return all;
  }

  Variable weight;
  Optimizer optimizer;
};

/// The gradient of three to eight rows at random.
RowGradient random_rows(uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<int32_t> rows;
  for (int32_t row = 0; row < MovedTable::num_rows; ++row) {
    if (engine() % 8 == 0 || row % 20 == 7) rows.push_back(row);
  }
  const auto count = static_cast<int64_t>(rows.size());
  return {.rows = Tensor::from_values({count}, rows),
          .values = MovedTable::values(seed).slice(0, count),
          .num_rows = MovedTable::num_rows};
}

double max_error(const std::vector<double>& a, const std::vector<double>& b) {
  BOOST_REQUIRE_EQUAL(a.size(), b.size());
  double error = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::abs(a[i] - b[i]) <= error)) error = std::abs(a[i] - b[i]);
  }
  return error;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(optimizer)

BOOST_AUTO_TEST_CASE(follows_the_published_rules) {
  for (const OptimizerKind kind : all_kinds) {
    for (const bool decays : {true, false}) {
      Random random(7);
      const OptimizerSettings settings{
          .kind = kind, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1};
      std::vector<double> expected = random.vector(1031);
      const Variable parameter = make_variable(expected);
      Optimizer optimizer({{"p", parameter, {}, decays}}, settings);
      ReferenceOptimizer reference{settings, {}, {}};
      for (int step = 0; step < 20; ++step) {
        std::vector<double> gradient = random.vector(expected.size());
        const double lr = 0.01 * (step + 1), gradient_scale = 0.5;
        set_grad(parameter, gradient);
        optimizer.step(lr, Tensor::full({}, gradient_scale, DType::float64));
        for (double& g : gradient) g *= gradient_scale;
        reference.step(expected, gradient, lr, decays);
        BOOST_CHECK_LE(max_error(parameter.tensor().to_vector<double>(), expected), 1e-13);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(float32_stays_close_to_double) {
  for (const OptimizerKind kind : all_kinds) {
    Random random(11);
    const OptimizerSettings settings{.kind = kind, .weight_decay = 0.01};
    std::vector<double> expected = random.vector(777);
    const std::vector<float> start(expected.begin(), expected.end());
    expected.assign(start.begin(), start.end());
    const Variable parameter(Tensor::from_values({777}, start), true);
    Optimizer optimizer({{"p", parameter, {}, true}}, settings);
    ReferenceOptimizer reference{settings, {}, {}};
    for (int step = 0; step < 20; ++step) {
      const std::vector<double> draw = random.vector(expected.size());
      const std::vector<float> gradient(draw.begin(), draw.end());
      parameter.meta()->grad = Tensor::from_values(parameter.shape(), gradient);
      optimizer.step(1e-3, Tensor::full({}, 1, DType::float64));
      reference.step(expected, {gradient.begin(), gradient.end()}, 1e-3, true);
    }
    const std::vector<float> found = parameter.tensor().to_vector<float>();
    BOOST_CHECK_LE(max_error({found.begin(), found.end()}, expected), 2e-5);
  }
}

BOOST_AUTO_TEST_CASE(a_mask_moves_only_its_elements) {
  for (const OptimizerKind kind : all_kinds) {
    Random random(13);
    const OptimizerSettings settings{.kind = kind, .weight_decay = 0.1};
    const std::vector<double> start = random.vector(2003);
    std::vector<int64_t> indices;
    for (int64_t i = 3; i < 2003; i += 7) indices.push_back(i);
    std::vector<double> expected;
    for (const int64_t i : indices) expected.push_back(start[static_cast<size_t>(i)]);
    const Variable parameter = make_variable(start);
    const auto count = static_cast<int64_t>(indices.size());
    Optimizer optimizer({{"p", parameter, Tensor::from_values({count}, indices), true}}, settings);
    ReferenceOptimizer reference{settings, {}, {}};
    for (int step = 0; step < 10; ++step) {
      std::vector<double> gradient = random.vector(start.size());
      gradient[0] = std::numeric_limits<double>::quiet_NaN();  // of a frozen element: nobody reads it
      std::vector<double> selected;
      double squares = 0;
      for (const int64_t i : indices) selected.push_back(gradient[static_cast<size_t>(i)]);
      for (const double g : selected) squares += g * g;
      set_grad(parameter, gradient);
      BOOST_CHECK_LE(std::abs(norm_of_parts(optimizer.squared_gradient_norms()) - std::sqrt(squares)), 1e-12);
      optimizer.step(0.01, Tensor::full({}, 1, DType::float64));
      reference.step(expected, selected, 0.01, true);
    }
    std::vector<double> wanted = start;
    for (size_t i = 0; i < indices.size(); ++i) wanted[static_cast<size_t>(indices[i])] = expected[i];
    const std::vector<double> found = parameter.tensor().to_vector<double>();
    BOOST_CHECK_LE(max_error(found, wanted), 1e-13);
    for (size_t i = 0; i < start.size(); ++i) {
      if (i % 7 != 3) BOOST_REQUIRE_EQUAL(found[i], start[i]);
    }
    for (const NamedTensor& moment : optimizer.state()) BOOST_CHECK_EQUAL(moment.tensor.numel(), count);
  }
}

BOOST_AUTO_TEST_CASE(zero_gradient_moves_nothing_but_decay) {
  for (const OptimizerKind kind : all_kinds) {
    for (const double weight_decay : {0.0, 0.1}) {
      const std::vector<double> start = {1, -2, 0, 1e-300, 1e300};
      const Variable parameter = make_variable(start);
      Optimizer optimizer({{"p", parameter, {}, true}}, {.kind = kind, .weight_decay = weight_decay});
      for (int step = 0; step < 5; ++step) {
        set_grad(parameter, {0, 0, 0, 0, 0});
        BOOST_CHECK_EQUAL(norm_of_parts(optimizer.squared_gradient_norms()), 0);
        optimizer.step(0.1, Tensor::full({}, 1, DType::float64));
      }
      const std::vector<double> found = parameter.tensor().to_vector<double>();
      const double factor = std::pow(1 - 0.1 * weight_decay, 5);
      for (size_t i = 0; i < start.size(); ++i) {
        BOOST_CHECK_LE(std::abs(found[i] - factor * start[i]), 1e-14 * std::abs(start[i]));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_tensor_without_gradient_rests) {
  const Variable moved = make_variable({1, 2}), resting = make_variable({3, 4});
  Optimizer optimizer({{"moved", moved, {}, true}, {"resting", resting, {}, true}}, {.weight_decay = 0.1});
  set_grad(moved, {1, 1});
  optimizer.step(0.1, Tensor::full({}, 1, DType::float64));
  BOOST_CHECK((resting.tensor().to_vector<double>() == std::vector<double>{3, 4}));
  BOOST_CHECK_LT(moved.tensor().to_vector<double>()[0], 1);
  BOOST_CHECK_EQUAL(optimizer.num_steps(), 1);
  optimizer.zero_grad();
  BOOST_CHECK(!moved.grad().defined());
}

BOOST_AUTO_TEST_CASE(the_gradient_of_some_rows_moves_what_the_whole_one_moves) {
  for (const OptimizerKind kind : all_kinds) {
    for (const bool decays : {true, false}) {
      const OptimizerSettings settings{.kind = kind, .weight_decay = 0.1};
      MovedTable rows(settings, decays), whole(settings, decays);
      for (uint64_t step = 0; step < 12; ++step) {
        const RowGradient gradient = random_rows(step);
        whole.weight.set_grad(gradient.dense());
        if (step == 8) {
          rows.weight.set_grad(gradient.dense());  // every row may have moments from now on
        } else {
          rows.weight.zero_grad();
          rows.weight.meta()->row_grad = gradient;
        }
        const double norm = norm_of_parts(whole.optimizer.squared_gradient_norms());
        BOOST_CHECK_CLOSE(norm_of_parts(rows.optimizer.squared_gradient_norms()), norm, 1e-10);
        const double scale = step == 3 ? std::numeric_limits<double>::quiet_NaN() : 0.5;
        rows.step(scale);
        whole.step(scale);
        BOOST_TEST_CONTEXT("kind " << static_cast<int>(kind) << ", decays " << decays << ", step " << step)
        BOOST_CHECK(rows.numbers() == whole.numbers());
        BOOST_TEST((rows.weight.row_grad() == nullptr) == (step == 8));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(rows_with_moments_are_known_after_a_restart) {
  const OptimizerSettings settings{.weight_decay = 0};
  MovedTable uninterrupted(settings, true);
  uninterrupted.weight.meta()->row_grad = random_rows(1);
  uninterrupted.step();
  MovedTable resumed(settings, true);
  resumed.weight.set_tensor(uninterrupted.weight.tensor().clone());
  resumed.optimizer = Optimizer({{"table", resumed.weight, {}, true}}, settings);
  resumed.optimizer.load_state(uninterrupted.optimizer.state(), uninterrupted.optimizer.num_steps());
  for (MovedTable* table : {&uninterrupted, &resumed}) {
    table->weight.meta()->row_grad = random_rows(2);
    table->step();
  }
  BOOST_CHECK(resumed.numbers() == uninterrupted.numbers());
}

BOOST_AUTO_TEST_CASE(a_mask_takes_its_elements_from_the_rows) {
  const Tensor indices = Tensor::from_values({4}, std::vector<int64_t>{0, 7 * 19 + 3, 27 * 19, 39 * 19 + 18});
  MovedTable rows({}, true, indices), whole({}, true, indices);
  rows.weight.meta()->row_grad = random_rows(5);
  whole.weight.set_grad(random_rows(5).dense());
  for (MovedTable* table : {&rows, &whole}) table->step();
  BOOST_CHECK(rows.numbers() == whole.numbers());
}

BOOST_AUTO_TEST_CASE(norms_tell_which_gradient_is_not_finite) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const Variable a = make_variable({1, 2}), b = make_variable({3, 4});
    Optimizer optimizer({{"a", a, {}, true}, {"b", b, {}, true}}, {});
    set_grad(a, {1, 1});
    set_grad(b, {1, 1});
    BOOST_CHECK_LE(std::abs(norm_of_parts(optimizer.squared_gradient_norms()) - 2), 1e-15);
    set_grad(b, {1, bad});
    BOOST_CHECK(!std::isfinite(norm_of_parts(optimizer.squared_gradient_norms())));
    const std::vector<double> squares = optimizer.squared_gradient_norms().to_vector<double>();
    BOOST_CHECK(std::isfinite(squares[0]) && !std::isfinite(squares[1]));
    BOOST_CHECK((optimizer.names_with_gradient() == std::vector<std::string_view>{"a", "b"}));
  }
}

BOOST_AUTO_TEST_CASE(continues_from_its_state) {
  for (const OptimizerKind kind : all_kinds) {
    Random random(17);
    const OptimizerSettings settings{.kind = kind, .weight_decay = 0.1};
    const std::vector<double> start = random.vector(101);
    const Variable first = make_variable(start);
    Optimizer uninterrupted({{"p", first, {}, true}}, settings);
    std::vector<std::vector<double>> gradients;
    for (int step = 0; step < 10; ++step) gradients.push_back(random.vector(start.size()));
    for (int step = 0; step < 5; ++step) {
      set_grad(first, gradients[static_cast<size_t>(step)]);
      uninterrupted.step(0.01, Tensor::full({}, 1, DType::float64));
    }
    const Variable second(first.tensor().clone(), true);
    Optimizer resumed({{"p", second, {}, true}}, settings);
    resumed.load_state(uninterrupted.state(), uninterrupted.num_steps());
    for (int step = 5; step < 10; ++step) {
      for (const Variable& variable : {first, second})
        set_grad(variable, gradients[static_cast<size_t>(step)]);
      uninterrupted.step(0.01, Tensor::full({}, 1, DType::float64));
      resumed.step(0.01, Tensor::full({}, 1, DType::float64));
    }
    BOOST_CHECK(first.tensor().to_vector<double>() == second.tensor().to_vector<double>());
  }
}

BOOST_AUTO_TEST_CASE(refuses_a_state_that_does_not_fit) {
  const Variable p = make_variable({1, 2, 3});
  Optimizer optimizer({{"p", p, {}, true}}, {});
  const Tensor good = Tensor::zeros({3}, DType::float64), other_shape = Tensor::zeros({2}, DType::float64),
               other_dtype = Tensor::zeros({3}, DType::float32);
  const auto is_model_error = [](const Error& error) { return error.kind() == ErrorKind::model; };
  BOOST_CHECK_EXCEPTION(optimizer.load_state({}, 1), Error, is_model_error);
  BOOST_CHECK_EXCEPTION(optimizer.load_state({{"p.exp_avg", good}, {"q.exp_avg_sq", good}}, 1), Error,
                        is_model_error);
  BOOST_CHECK_EXCEPTION(optimizer.load_state({{"p.exp_avg", good}, {"p.exp_avg_sq", other_shape}}, 1), Error,
                        is_model_error);
  BOOST_CHECK_EXCEPTION(optimizer.load_state({{"p.exp_avg", other_dtype}, {"p.exp_avg_sq", good}}, 1), Error,
                        is_model_error);
  optimizer.load_state({{"p.exp_avg", good}, {"p.exp_avg_sq", good}}, 4);
  BOOST_CHECK_EQUAL(optimizer.num_steps(), 4);
}

BOOST_AUTO_TEST_CASE(knows_its_names) {
  BOOST_CHECK(find_optimizer("adamw_hf") == OptimizerKind::adamw_hf);
  BOOST_CHECK(find_optimizer("sgd") == OptimizerKind::sgd);
  BOOST_CHECK_EXCEPTION(find_optimizer("adam"), Error,
                        [](const Error& error) { return error.kind() == ErrorKind::usage; });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
