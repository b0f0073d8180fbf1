#include "tests/cuda/device_testing.h"

using namespace normtune;
using namespace normtune::test;

/// Kernels with sums at the sizes of BERT-base: many blocks at a time, whose order a device chooses anew in
/// each of a thousand repeats. The emulator, with one block after another, has sizes of a few blocks.
BOOST_AUTO_TEST_SUITE(large_sizes)

namespace {

using Inputs = const std::vector<Tensor>&;

int64_t either(int64_t emulated, int64_t on_device) {
  return is_emulated() ? emulated : on_device;
}

int64_t num_rows() {
  return either(67, 515);
}

int64_t hidden_size() {
  return either(130, 768);
}

Tensor vector_on(const Tensor& tensor, int64_t size) {
  return Tensor::empty({size}, DType::float32, tensor.device());
}

Tensor scalar_on(const Tensor& tensor) {
  return Tensor::empty({}, DType::float32, tensor.device());
}

}  // namespace

BOOST_AUTO_TEST_CASE(sums) {
  for_generated_cases("large sums", 1, [](CaseRandom& random, const CheckCase& check) {
    check({random.floats({num_rows(), hidden_size()}, 1, 0.1)}, [](Inputs in) {
      Backend& backend = in[0].backend();
      const Tensor all = scalar_on(in[0]), columns = vector_on(in[0], hidden_size());
      backend.sum(in[0], all);
      backend.column_sums({.input = in[0], .outputs = {columns}});
      return std::vector<Tensor>{all, columns,
                                 Tensor::full({}, backend.squared_norms({{in[0]}}).front(), DType::float32)};
    });
  });
}

BOOST_AUTO_TEST_CASE(layer_norm) {
  for_generated_cases("large layer_norm", 1, [](CaseRandom& random, const CheckCase& check) {
    const Shape shape{num_rows(), hidden_size()};
    const PhiloxKey key = dropout_key(random.bits(), 1, 2);
    const Tensor example_ids =
        Tensor::from_values({num_rows()}, std::vector<int64_t>(static_cast<size_t>(num_rows()), 17));
    check({random.floats(shape), random.floats(shape), random.floats({hidden_size()}),
           random.floats({hidden_size()}), random.floats(shape), example_ids,
           random.int32s(num_rows(), 0, 511)},
          [key](Inputs in) {
            const Tensor output = Tensor::empty_like(in[0]), normalized = Tensor::empty_like(in[0]);
            const Tensor grad_input = Tensor::empty_like(in[0]), grad_residual = Tensor::empty_like(in[0]);
            const Tensor rstd = vector_on(in[0], num_rows()), grad_weight = vector_on(in[0], hidden_size()),
                         grad_bias = vector_on(in[0], hidden_size());
            const DropoutMask mask{0.1, key, in[5], in[6]};
            in[0].backend().layer_norm_forward({.input = in[0],
                                                .residual = &in[1],
                                                .mask = mask,
                                                .weight = in[2],
                                                .bias = in[3],
                                                .eps = 1e-12,
                                                .output = output,
                                                .normalized = &normalized,
                                                .rstd = &rstd});
            in[0].backend().layer_norm_backward({.grad_output = in[4],
                                                 .normalized = normalized,
                                                 .rstd = rstd,
                                                 .weight = in[2],
                                                 .mask = mask,
                                                 .grad_input = &grad_input,
                                                 .grad_residual = &grad_residual,
                                                 .grad_weight = &grad_weight,
                                                 .grad_bias = &grad_bias});
            return std::vector<Tensor>{output, grad_input, grad_residual, grad_weight, grad_bias};
          });
  });
}

BOOST_AUTO_TEST_CASE(softmax) {
  for_generated_cases("large softmax", 1, [](CaseRandom& random, const CheckCase& check) {
    const Shape shape{num_rows(), hidden_size()};
    check({random.floats(shape, 5), random.floats(shape)}, [](Inputs in) {
      const Tensor probs = Tensor::empty_like(in[0]), grad = Tensor::empty_like(in[0]);
      in[0].backend().softmax_forward(in[0], probs);
      in[0].backend().softmax_backward(probs, in[1], grad);
      return std::vector<Tensor>{probs, grad};
    });
  });
}

/// Of words, few of which come twice, and of the two token types.
BOOST_AUTO_TEST_CASE(gradients_of_embeddings) {
  for_generated_cases("large embeddings", 1, [](CaseRandom& random, const CheckCase& check) {
    check({random.floats({num_rows(), hidden_size()}), random.int32s(num_rows(), 0, 1999),
           random.int32s(num_rows(), 0, 1)},
          [](Inputs in) {
            const Tensor words = Tensor::empty({2000, hidden_size()}, DType::float32, in[0].device()),
                         types = Tensor::empty({2, hidden_size()}, DType::float32, in[0].device());
            Backend& backend = in[0].backend();
            backend.scatter_add_rows(
                {.grad_output = in[0], .index = in[1], .grad_input = words, .skip_index = 0});
            backend.scatter_add_rows({.grad_output = in[0], .index = in[2], .grad_input = types});
            return std::vector<Tensor>{words, types};
          });
  });
}

BOOST_AUTO_TEST_CASE(squared_gradients) {
  for_generated_cases("large squared gradients", 1, [](CaseRandom& random, const CheckCase& check) {
    const Tensor cu_seqlens = random.cu_seqlens(either(3, 8), 1, either(12, 64));
    const int64_t rows = cu_seqlens.to_vector<int32_t>().back();
    check({random.floats({rows, hidden_size()}), random.floats({rows, hidden_size()}), cu_seqlens,
           random.int32s(rows, 0, 99)},
          [](Inputs in) {
            const Tensor of_bias = vector_on(in[0], hidden_size());
            const Tensor of_weight =
                Tensor::empty({hidden_size(), hidden_size()}, DType::float32, in[0].device());
            const Tensor of_table = Tensor::empty({100, hidden_size()}, DType::float32, in[0].device());
            Backend& backend = in[0].backend();
            backend.squared_column_sums(
                {.input = in[0], .factor = &in[1], .cu_seqlens = in[2], .output = of_bias});
            backend.squared_products({.a = in[0], .b = in[1], .cu_seqlens = in[2], .output = of_weight});
            backend.squared_scatter_add_rows(
                {.grad_output = in[0], .index = in[3], .cu_seqlens = in[2], .grad_input = of_table});
            return std::vector<Tensor>{of_bias, of_weight, of_table};
          });
  });
}

/// The loss of pre-training: a class for each word.
BOOST_AUTO_TEST_CASE(cross_entropy) {
  for_generated_cases("large cross_entropy", 1, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = either(5, 40), num_classes = either(3'000, 30'522);
    check({random.floats({rows, num_classes}), random.int32s(rows, -1, num_classes - 1)}, [rows](Inputs in) {
      const Tensor loss = scalar_on(in[0]), grad_logits = Tensor::empty_like(in[0]);
      in[0].backend().cross_entropy({.logits = in[0],
                                     .labels = in[1],
                                     .scale = 1.0 / static_cast<double>(rows),
                                     .loss = loss,
                                     .grad_logits = &grad_logits});
      return std::vector<Tensor>{loss, grad_logits};
    });
  });
}

BOOST_AUTO_TEST_SUITE_END()
