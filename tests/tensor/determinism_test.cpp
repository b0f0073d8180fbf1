#include "tests/tensor/kernel_testing.h"

using namespace normtune;
using namespace normtune::test;

/// Every kernel has equal bits for 1, 2, 3, 4, 8 and 16 threads, on sizes that are cut into several pieces,
/// and with free memory full of NaN.
BOOST_AUTO_TEST_SUITE(determinism)

namespace {

constexpr int64_t rows = 400, columns = 96;

Tensor matrix(DType dtype, uint64_t seed) {
  return random_tensor({rows, columns}, dtype, seed);
}

/// The results of a kernel that writes one tensor of the shape of its input.
template <typename Kernel>
std::vector<Tensor> results_like(const Tensor& input, const Kernel& kernel) {
  const Tensor output = Tensor::empty_like(input);
  kernel(output);
  return {output};
}

}  // namespace

BOOST_AUTO_TEST_CASE(element_wise_kernels) {
  for_each_setting([](DType dtype) {
    const Tensor a = matrix(dtype, 1), b = matrix(dtype, 2);
    check_bits_for_any_threads("add", [&] { return results_like(a, [&](auto& y) { cpu().add(a, b, y); }); });
    check_bits_for_any_threads("multiply",
                               [&] { return results_like(a, [&](auto& y) { cpu().multiply(a, b, y); }); });
    check_bits_for_any_threads("scale",
                               [&] { return results_like(a, [&](auto& y) { cpu().scale(a, 0.3, y); }); });
    check_bits_for_any_threads("add_bias", [&] {
      return results_like(a, [&](auto& y) { cpu().add_bias(a, b.slice(0, 1).reshape({columns}), y); });
    });
    for (int i = 0; i < 5; ++i) {
      const auto activation = static_cast<Activation>(i);
      check_bits_for_any_threads("activation_forward", [&] {
        return results_like(a, [&](auto& y) { cpu().activation_forward(activation, a, y); });
      });
      check_bits_for_any_threads("activation_backward", [&] {
        const Tensor output = Tensor::empty_like(a), grad_input = Tensor::empty_like(a);
        cpu().activation_backward({.activation = activation,
                                   .input = a,
                                   .grad_output = b,
                                   .grad_input = grad_input,
                                   .output = &output});
        return std::vector<Tensor>{output, grad_input};
      });
      for (const DType kept : {dtype, DType::uint8}) {
        check_bits_for_any_threads("activation_with_derivative", [&] {
          const Tensor output = Tensor::empty_like(a), derivative = Tensor::empty(a.shape(), kept);
          const Tensor grad_input = Tensor::empty_like(a);
          cpu().activation_with_derivative(activation, a, output, derivative);
          cpu().derivative_backward({.derivative = derivative, .grad_output = b, .grad_input = grad_input});
          return std::vector<Tensor>{output, grad_input};
        });
      }
    }
    check_bits_for_any_threads("dropout", [&] {
      return results_like(a, [&](auto& y) { cpu().dropout(a, random_mask(rows, 0.1), y); });
    });
  });
}

BOOST_AUTO_TEST_CASE(products) {
  struct Case {
    int64_t m, n, k;
  };
  // Forward, input gradient and weight gradient of small layers; thin ones; long sums.
  for (const auto& [m, n, k] : {Case{1, 2, 2048},
                                {16, 384, 384},
                                {64, 2, 4096},
                                {100, 100, 1500},
                                {300, 128, 200},
                                {3, 700, 5},
                                {64, 256, 2100}}) {
    for (const DType dtype : {DType::float32, DType::float64}) {
      for (const bool transpose_a : {false, true}) {
        for (const bool transpose_b : {false, true}) {
          if (dtype == DType::float64 && m * n * k > 20'000'000) continue;
          const Tensor a = random_tensor(transpose_a ? Shape{k, m} : Shape{m, k}, dtype, 1);
          const Tensor b = random_tensor(transpose_b ? Shape{n, k} : Shape{k, n}, dtype, 2);
          check_bits_for_any_threads("matmul", [&] {
            const Tensor c = Tensor::full({m, n}, 1, dtype);
            cpu().matmul({.a = a,
                          .transpose_a = transpose_a,
                          .b = b,
                          .transpose_b = transpose_b,
                          .c = c,
                          .accumulate = true});
            return std::vector<Tensor>{c};
          });
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(sums) {
  for_each_setting([](DType dtype) {
    for (const int64_t width : {1, 2, 64, 400}) {
      const Tensor x = random_tensor({1100, width}, dtype, 1);
      check_bits_for_any_threads("column_sums", [&] {
        const Tensor y = Tensor::empty({width}, dtype);
        cpu().column_sums({.input = x, .outputs = {y}});
        return std::vector<Tensor>{y};
      });
      check_bits_for_any_threads("sum and squared_norm", [&] {
        const Tensor y = Tensor::empty({}, dtype);
        cpu().sum(x, y);
        return std::vector<Tensor>{y, Tensor::full({}, squared_norm(x), DType::float64)};
      });
    }
  });
}

BOOST_AUTO_TEST_CASE(rows_of_softmax_and_layer_norm) {
  for_each_setting([](DType dtype) {
    const Tensor a = matrix(dtype, 1), b = matrix(dtype, 2), weight = random_tensor({columns}, dtype, 3);
    const DropoutMask mask = random_mask(rows, 0.1);
    check_bits_for_any_threads("softmax", [&] {
      const Tensor probs = Tensor::empty_like(a), grad = Tensor::empty_like(a);
      cpu().softmax_forward(a, probs);
      cpu().softmax_backward(probs, b, grad);
      return std::vector<Tensor>{probs, grad};
    });
    check_bits_for_any_threads("layer_norm", [&] {
      const Tensor output = Tensor::empty_like(a), normalized = Tensor::empty_like(a);
      const Tensor rstd = Tensor::empty({rows}, dtype), grad_input = Tensor::empty_like(a);
      const Tensor grad_residual = Tensor::empty_like(a), grad_weight = Tensor::empty({columns}, dtype);
      const Tensor grad_bias = Tensor::empty({columns}, dtype);
      cpu().layer_norm_forward({.input = a,
                                .residual = &b,
                                .mask = mask,
                                .weight = weight,
                                .bias = weight,
                                .eps = 1e-12,
                                .output = output,
                                .normalized = &normalized,
                                .rstd = &rstd});
      cpu().layer_norm_backward({.grad_output = b,
                                 .normalized = normalized,
                                 .rstd = rstd,
                                 .weight = weight,
                                 .mask = mask,
                                 .grad_input = &grad_input,
                                 .grad_residual = &grad_residual,
                                 .grad_weight = &grad_weight,
                                 .grad_bias = &grad_bias});
      return std::vector<Tensor>{output, normalized, rstd, grad_input, grad_residual, grad_weight, grad_bias};
    });
  });
}

BOOST_AUTO_TEST_CASE(attention) {
  for_each_setting([](DType dtype) {
    const int64_t tokens = 30 + 1 + 140, heads = 4, hidden_size = heads * 12;
    const Tensor cu_seqlens = indices({0, 30, 31, 171});
    const Tensor query = random_tensor({tokens, hidden_size}, dtype, 1);
    const Tensor key = random_tensor({tokens, hidden_size}, dtype, 2);
    const Tensor value = random_tensor({tokens, hidden_size}, dtype, 3);
    const DropoutMask mask = random_mask(tokens, 0.1);
    check_bits_for_any_threads("attention", [&] {
      const Tensor context = Tensor::empty_like(query), log_sum_exp = Tensor::empty({tokens, heads}, dtype);
      const Tensor grad_query = Tensor::empty_like(query), grad_key = Tensor::empty_like(query);
      const Tensor grad_value = Tensor::empty_like(query);
      cpu().attention_forward({.query = query,
                               .key = key,
                               .value = value,
                               .query_cu_seqlens = cu_seqlens,
                               .cu_seqlens = cu_seqlens,
                               .num_heads = heads,
                               .mask = mask,
                               .context = context,
                               .log_sum_exp = &log_sum_exp});
      cpu().attention_backward({.query = query,
                                .key = key,
                                .value = value,
                                .query_cu_seqlens = cu_seqlens,
                                .cu_seqlens = cu_seqlens,
                                .num_heads = heads,
                                .mask = mask,
                                .log_sum_exp = log_sum_exp,
                                .grad_context = context,
                                .grad_query = grad_query,
                                .grad_key = grad_key,
                                .grad_value = grad_value});
      return std::vector<Tensor>{context, log_sum_exp, grad_query, grad_key, grad_value};
    });
  });
}

BOOST_AUTO_TEST_CASE(embeddings_losses_and_updates) {
  for_each_setting([](DType dtype) {
    const Tensor x = matrix(dtype, 1), gradient = matrix(dtype, 2);
    std::vector<int32_t> index;
    for (int64_t i = 0; i < rows; ++i) index.push_back(static_cast<int32_t>(mix64(i) % 7));
    check_bits_for_any_threads("scatter_add_rows", [&] {
      const Tensor y = Tensor::empty({7, columns}, dtype);
      cpu().scatter_add_rows({.grad_output = x, .index = indices(index), .grad_input = y});
      return std::vector<Tensor>{y};
    });
    check_bits_for_any_threads("cross_entropy", [&] {
      const Tensor loss = Tensor::empty({}, dtype), grad = Tensor::empty_like(x);
      cpu().cross_entropy(
          {.logits = x, .labels = indices(index), .scale = 0.1, .loss = loss, .grad_logits = &grad});
      return std::vector<Tensor>{loss, grad};
    });
    check_bits_for_any_threads("adamw_step", [&] {
      const Tensor parameter = x.clone(), m = Tensor::zeros(x.shape(), dtype),
                   v = Tensor::zeros(x.shape(), dtype);
      const Tensor factors = to_tensor({adamw_factors({}, /*lr=*/0.01, /*weight_decay=*/0.01, 1)});
      cpu().adamw_step({.tensors = {{.parameter = parameter,
                                     .gradient = gradient,
                                     .first_moment = m,
                                     .second_moment = v,
                                     .indices = nullptr,
                                     .factors = factors}},
                        .gradient_scale = Tensor::full({}, 1, DType::float64)});
      return std::vector<Tensor>{parameter, m, v};
    });
  });
}

BOOST_AUTO_TEST_SUITE_END()
