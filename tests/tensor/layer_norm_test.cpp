#include <cmath>
#include <optional>

#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(layer_norm)

namespace {

constexpr double eps = 1e-12;

struct Forward {
  Tensor output, normalized, rstd;
};

Forward run_forward(const Tensor& input, const Tensor* residual, const DropoutMask& mask,
                    const Tensor& weight, const Tensor& bias) {
  Forward result{Tensor::empty_like(input), Tensor::empty_like(input),
                 Tensor::empty({input.size(0)}, input.dtype())};
  cpu().layer_norm_forward({.input = input,
                            .residual = residual,
                            .mask = mask,
                            .weight = weight,
                            .bias = bias,
                            .eps = eps,
                            .output = result.output,
                            .normalized = &result.normalized,
                            .rstd = &result.rstd});
  return result;
}

struct Reference {
  std::vector<double> output, normalized, rstd;
};

/// dropout(input) + residual without its first element, row by row: in long double, that difference is exact.
std::vector<long double> shifted_sum(const Tensor& input, const Tensor* residual, const DropoutMask& mask) {
  const std::vector<double> x = values_of(input);
  const std::vector<double> added =
      residual == nullptr ? std::vector<double>(x.size(), 0) : values_of(*residual);
  std::vector<long double> sum(x.size());
  const int64_t columns = input.size(1);
  for (size_t i = 0; i < x.size(); ++i) {
    const auto row = static_cast<int64_t>(i) / columns, column = static_cast<int64_t>(i) % columns;
    sum[i] = x[i] * static_cast<long double>(dropout_factor(mask, row, column)) + added[i];
  }
  for (size_t i = x.size(); i-- > 0;) sum[i] -= sum[i - i % static_cast<size_t>(columns)];
  return sum;
}

Reference reference_forward(const Tensor& input, const Tensor* residual, const DropoutMask& mask,
                            const Tensor& weight, const Tensor& bias) {
  const std::vector<double> w = values_of(weight), b = values_of(bias);
  const std::vector<long double> sum = shifted_sum(input, residual, mask);
  Reference result;
  for (size_t begin = 0; begin < sum.size(); begin += w.size()) {
    long double mean = 0, variance = 0;
    for (size_t j = 0; j < w.size(); ++j) mean += sum[begin + j] / static_cast<long double>(w.size());
    for (size_t j = 0; j < w.size(); ++j) {
      variance += (sum[begin + j] - mean) * (sum[begin + j] - mean) / static_cast<long double>(w.size());
    }
    const long double rstd = 1 / std::sqrt(variance + static_cast<long double>(eps));
    result.rstd.push_back(static_cast<double>(rstd));
    for (size_t j = 0; j < w.size(); ++j) {
      result.normalized.push_back(static_cast<double>((sum[begin + j] - mean) * rstd));
      result.output.push_back(result.normalized.back() * w[j] + b[j]);
    }
  }
  return result;
}

/// Results are of size 1; float rounding of `sum` and of the mean reaches them through rstd.
constexpr Tolerance tolerance{2e-14, 2e-6};

void check_forward(const Tensor& input, const Tensor* residual, const DropoutMask& mask) {
  const Tensor weight = random_tensor({input.size(1)}, input.dtype(), 8);
  const Tensor bias = random_tensor({input.size(1)}, input.dtype(), 9);
  const Forward found = run_forward(input, residual, mask, weight, bias);
  const Reference expected = reference_forward(input, residual, mask, weight, bias);
  BOOST_CHECK(largest_error(values_of(found.output), expected.output) <= tolerance.of(input.dtype()));
  BOOST_CHECK(largest_error(values_of(found.normalized), expected.normalized) <= tolerance.of(input.dtype()));
  BOOST_CHECK(largest_error(values_of(found.rstd), expected.rstd) <= tolerance.of(input.dtype()));
  // Without what backward needs: the same output.
  const Tensor output = Tensor::empty_like(input);
  cpu().layer_norm_forward({.input = input,
                            .residual = residual,
                            .mask = mask,
                            .weight = weight,
                            .bias = bias,
                            .eps = eps,
                            .output = output,
                            .normalized = nullptr,
                            .rstd = nullptr});
  BOOST_TEST(equal_bits(output, found.output));
}

struct Gradients {
  std::vector<double> input, residual, weight, bias;
};

Gradients reference_backward(const Tensor& grad_output, const Tensor& normalized, const Tensor& rstd,
                             const Tensor& weight, const DropoutMask& mask) {
  const std::vector<double> dy = values_of(grad_output), n = values_of(normalized), w = values_of(weight);
  const std::vector<double> row_rstd = values_of(rstd);
  const auto columns = w.size();
  Gradients result;
  result.weight.assign(columns, 0);
  result.bias.assign(columns, 0);
  for (size_t row = 0; row < dy.size() / columns; ++row) {
    double mean_g = 0, mean_gn = 0;
    for (size_t j = 0; j < columns; ++j) {
      const size_t at = row * columns + j;
      mean_g += dy[at] * w[j] / static_cast<double>(columns);
      mean_gn += dy[at] * w[j] * n[at] / static_cast<double>(columns);
      result.weight[j] += dy[at] * n[at];
      result.bias[j] += dy[at];
    }
    for (size_t j = 0; j < columns; ++j) {
      const size_t at = row * columns + j;
      result.residual.push_back(row_rstd[row] * (dy[at] * w[j] - mean_g - n[at] * mean_gn));
      result.input.push_back(result.residual.back() *
                             dropout_factor(mask, static_cast<int64_t>(row), static_cast<int64_t>(j)));
    }
  }
  return result;
}

struct BackwardCase {
  Tensor grad_output, normalized, rstd, weight;
  DropoutMask mask;

  BackwardCase(int64_t rows, int64_t columns, DType dtype, double probability)
      : grad_output(random_tensor({rows, columns}, dtype, 1)),
        weight(random_tensor({columns}, dtype, 2)),
        mask(random_mask(rows, probability)) {
    const Forward forward =
        run_forward(random_tensor({rows, columns}, dtype, 3), nullptr, no_mask(), weight, weight);
    normalized = forward.normalized;
    rstd = forward.rstd;
  }

  void run(const Tensor* grad_input, const Tensor* grad_residual, const Tensor* grad_weight,
           const Tensor* grad_bias) const {
    cpu().layer_norm_backward({.grad_output = grad_output,
                               .normalized = normalized,
                               .rstd = rstd,
                               .weight = weight,
                               .mask = mask,
                               .grad_input = grad_input,
                               .grad_residual = grad_residual,
                               .grad_weight = grad_weight,
                               .grad_bias = grad_bias});
  }
  Gradients expected() const { return reference_backward(grad_output, normalized, rstd, weight, mask); }
};

}  // namespace

BOOST_AUTO_TEST_CASE(forward) {
  for_each_setting([](DType dtype) {
    for (const int64_t columns : {5, 16, 37, 768}) {
      const Tensor x = random_tensor({11, columns}, dtype, 1),
                   residual = random_tensor({11, columns}, dtype, 2);
      check_forward(x, nullptr, no_mask());
      check_forward(x, &residual, no_mask());
      check_forward(x, &residual, random_mask(11, 0.3));
      check_forward(random_tensor({11, columns}, dtype, 3, 2, 5), nullptr, random_mask(11, 0.1));
    }
  });
}

/// The input itself is rounded at an offset; the kernel must not add to that.
BOOST_AUTO_TEST_CASE(large_offsets_do_no_harm) {
  for_each_setting([](DType dtype) {
    check_forward(random_tensor({5, 768}, dtype, 1, 2, 1e4), nullptr, no_mask());
    check_forward(random_tensor({5, 768}, dtype, 1, 2, -1e4), nullptr, no_mask());
    check_forward(random_tensor({5, 100}, dtype, 1, 1e28, 1e30), nullptr, no_mask());
    check_forward(random_tensor({5, 100}, dtype, 1, 1e30), nullptr, no_mask());
    check_forward(random_tensor({5, 100}, dtype, 1, 1e-6, 1), nullptr, no_mask());
  });
}

BOOST_AUTO_TEST_CASE(equal_values_give_the_bias) {
  for_each_setting([](DType dtype) {
    for (const double value : {0.0, 3.7, 1e4, 1e30}) {
      const Tensor weight = random_tensor({50}, dtype, 1), bias = random_tensor({50}, dtype, 2);
      const Forward found =
          run_forward(Tensor::full({1, 50}, value, dtype), nullptr, no_mask(), weight, bias);
      BOOST_TEST(values_of(found.output) == values_of(bias));
      BOOST_CHECK(std::abs(values_of(found.rstd)[0] / 1e6 - 1) <= 1e-6);
    }
    // One column has no variance either.
    check_forward(random_tensor({3, 1}, dtype, 1), nullptr, no_mask());
  });
}

BOOST_AUTO_TEST_CASE(nan_stays_in_its_row) {
  for_each_setting([](DType dtype) {
    const Tensor x = random_tensor({4, 33}, dtype, 1), weight = random_tensor({33}, dtype, 2);
    for (const int64_t column : {0, 20}) {
      Tensor poisoned = x.reshape({4 * 33}).slice(2 * 33 + column, 2 * 33 + column + 1);
      poisoned.fill(std::nan(""));
      const std::vector<double> output = values_of(run_forward(x, nullptr, no_mask(), weight, weight).output);
      for (size_t i = 0; i < output.size(); ++i) BOOST_TEST(std::isnan(output[i]) == (i / 33 == 2));
    }
  });
}

BOOST_AUTO_TEST_CASE(backward) {
  for_each_setting([](DType dtype) {
    for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 3}, {5, 37}, {131, 64}, {2100, 8}}) {
      for (const double probability : {0.0, 0.3}) {
        const BackwardCase sample(rows, columns, dtype, probability);
        const Gradients expected = sample.expected();
        const Tensor grad_input = Tensor::empty_like(sample.grad_output),
                     grad_residual = Tensor::empty_like(grad_input);
        const Tensor grad_weight = Tensor::empty({columns}, dtype),
                     grad_bias = Tensor::empty({columns}, dtype);
        sample.run(&grad_input, &grad_residual, &grad_weight, &grad_bias);
        BOOST_CHECK(largest_error(values_of(grad_input), expected.input) <= reduction.of(dtype));
        BOOST_CHECK(largest_error(values_of(grad_residual), expected.residual) <= reduction.of(dtype));
        BOOST_CHECK(largest_error(values_of(grad_weight), expected.weight) <= reduction.of(dtype));
        BOOST_CHECK(largest_error(values_of(grad_bias), expected.bias) <= reduction.of(dtype));
      }
    }
  });
}

/// Every subset of wanted gradients gives the same bits for those that are wanted.
BOOST_AUTO_TEST_CASE(backward_computes_what_is_asked_for) {
  for_each_setting([](DType dtype) {
    const BackwardCase sample(70, 45, dtype, 0.2);
    Tensor all[4] = {Tensor::empty({70, 45}, dtype), Tensor::empty({70, 45}, dtype),
                     Tensor::empty({45}, dtype), Tensor::empty({45}, dtype)};
    sample.run(&all[0], &all[1], &all[2], &all[3]);
    for (size_t subset = 0; subset < 16; ++subset) {
      Tensor some[4];
      const Tensor* wanted[4];
      for (size_t i = 0; i < 4; ++i) {
        some[i] = Tensor::empty_like(all[i]);
        wanted[i] = subset >> i & 1 ? &some[i] : nullptr;
      }
      sample.run(wanted[0], wanted[1], wanted[2], wanted[3]);
      for (size_t i = 0; i < 4; ++i) {
        if (wanted[i] != nullptr) BOOST_TEST(equal_bits(some[i], all[i]));
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(backward_may_overwrite_the_incoming_gradient) {
  for_each_setting([](DType dtype) {
    for (const double probability : {0.0, 0.2}) {
      const BackwardCase sample(9, 33, dtype, probability);
      const Tensor grad_input = Tensor::empty({9, 33}, dtype), grad_residual = Tensor::empty({9, 33}, dtype);
      sample.run(&grad_input, &grad_residual, nullptr, nullptr);
      BackwardCase first = sample, second = sample;
      first.grad_output = sample.grad_output.clone();
      const Tensor grad_weight = Tensor::empty({33}, dtype), expected_weight = Tensor::empty({33}, dtype);
      sample.run(nullptr, nullptr, &expected_weight, nullptr);
      first.run(&first.grad_output, nullptr, &grad_weight, nullptr);
      BOOST_TEST(equal_bits(first.grad_output, grad_input));
      BOOST_TEST(equal_bits(grad_weight, expected_weight));
      second.grad_output = sample.grad_output.clone();
      const Tensor other = Tensor::empty({9, 33}, dtype);
      second.run(&other, &second.grad_output, nullptr, nullptr);
      BOOST_TEST(equal_bits(second.grad_output, grad_residual));
      BOOST_TEST(equal_bits(other, grad_input));
    }
  });
}

BOOST_AUTO_TEST_CASE(column_sums_are_those_of_grad_input) {
  for_each_setting([](DType dtype) {
    const BackwardCase c(70, 37, dtype, 0.3);
    const Tensor grad_input = Tensor::empty_like(c.grad_output), found = Tensor::empty({37}, dtype),
                 expected = Tensor::empty({37}, dtype);
    cpu().layer_norm_backward({.grad_output = c.grad_output,
                               .normalized = c.normalized,
                               .rstd = c.rstd,
                               .weight = c.weight,
                               .mask = c.mask,
                               .grad_input = &grad_input,
                               .grad_residual = nullptr,
                               .grad_weight = nullptr,
                               .grad_bias = nullptr,
                               .column_sums = &found});
    cpu().column_sums({.input = grad_input, .outputs = {expected}});
    BOOST_TEST(equal_bits(found, expected));
  });
}

BOOST_AUTO_TEST_SUITE_END()
