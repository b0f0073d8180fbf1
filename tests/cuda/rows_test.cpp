#include "tests/cuda/device_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(rows)

namespace {

using Inputs = const std::vector<Tensor>&;

Tensor scalar_on(const Tensor& tensor) {
  return Tensor::empty({}, DType::float32, tensor.device());
}

Tensor vector_on(const Tensor& tensor, int64_t size) {
  return Tensor::empty({size}, DType::float32, tensor.device());
}

/// As a tensor of float32 on the host.
Tensor squared_norms(const std::vector<Backend::NormInput>& inputs) {
  std::vector<float> norms;
  for (const double norm : inputs.front().tensor.backend().squared_norms(inputs)) {
    norms.push_back(static_cast<float>(norm));
  }
  return Tensor::from_values({static_cast<int64_t>(norms.size())}, norms);
}

Tensor random_example_ids(CaseRandom& random, int64_t rows) {
  std::vector<int64_t> ids(static_cast<size_t>(rows));
  for (int64_t& id : ids) id = random.integer(0, 1LL << 40);
  return Tensor::from_values({rows}, ids);
}

}  // namespace

BOOST_AUTO_TEST_CASE(sums) {
  for_generated_cases("sums", 120, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.integer(0, 3) == 0 ? random.integer(0, 200) : random.size(40);
    const int64_t width = random.size(130), begin = random.integer(0, width - 1);
    const Tensor indices = random.ascending_int64s(rows * width);
    check({random.floats({rows, width}), indices}, [begin, width](Inputs in) {
      const Tensor all = scalar_on(in[0]), columns = vector_on(in[0], width - begin);
      Backend& backend = in[0].backend();
      backend.sum(in[0], all);
      backend.column_sums({.input = MatrixRef(in[0]).columns(begin, width), .output = columns});
      return std::vector<Tensor>{all, columns, squared_norms({{in[0]}, {in[0], &in[1]}})};
    });
  });
}

/// Sums over several pieces.
BOOST_AUTO_TEST_CASE(long_sums) {
  for_generated_cases("long sums", 4, [](CaseRandom& random, const CheckCase& check) {
    check({random.floats({random.integer(20'000, 40'000)}, 1, 0.5)}, [](Inputs in) {
      const Tensor all = scalar_on(in[0]);
      in[0].backend().sum(in[0], all);
      return std::vector<Tensor>{all, squared_norms({{in[0]}})};
    });
  });
}

/// More tensors than a kernel takes at once, empty ones among them.
BOOST_AUTO_TEST_CASE(norms_of_many_tensors) {
  for_generated_cases("norms", 8, [](CaseRandom& random, const CheckCase& check) {
    std::vector<Tensor> inputs;
    for (int64_t t = random.integer(1, 400); t > 0; --t) {
      inputs.push_back(random.floats({random.integer(0, 9) == 0 ? 0 : random.size(600)}));
    }
    check(inputs, [](Inputs in) {
      std::vector<Backend::NormInput> of;
      for (const Tensor& tensor : in) of.push_back({tensor});
      return std::vector<Tensor>{squared_norms(of)};
    });
  });
}

BOOST_AUTO_TEST_CASE(softmax) {
  for_generated_cases("softmax", 150, [](CaseRandom& random, const CheckCase& check) {
    const Shape shape{random.size(8), random.size(300)};
    const double scale = random.integer(0, 3) == 0 ? 1e4 : 5;
    check({random.floats(shape, scale), random.floats(shape)}, [](Inputs in) {
      const Tensor probs = Tensor::empty_like(in[0]), grad = in[1].clone();
      in[0].backend().softmax_forward(in[0], probs);
      in[0].backend().softmax_backward(probs, grad, grad);
      return std::vector<Tensor>{probs, grad};
    });
  });
}

BOOST_AUTO_TEST_CASE(layer_norm_forward) {
  for_generated_cases("layer_norm_forward", 250, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(8), hidden_size = random.size(600);
    const bool has_residual = random.coin(), keeps = random.coin();
    const double probability = random.coin() ? 0.1 : 0, offset = random.integer(0, 3) == 0 ? 1e4 : 0;
    const PhiloxKey key = dropout_key(random.bits(), 1, 2);
    check({random.floats({rows, hidden_size}, 2, offset), random.floats({rows, hidden_size}),
           random.floats({hidden_size}), random.floats({hidden_size}), random_example_ids(random, rows),
           random.int32s(rows, 0, 100)},
          [=](Inputs in) {
            const Tensor output = Tensor::empty_like(in[0]), normalized = Tensor::empty_like(in[0]);
            const Tensor rstd = vector_on(in[0], rows);
            const DropoutMask mask{probability, key, in[4], in[5]};
            in[0].backend().layer_norm_forward({.input = in[0],
                                                .residual = has_residual ? &in[1] : nullptr,
                                                .mask = mask,
                                                .weight = in[2],
                                                .bias = in[3],
                                                .eps = 1e-12,
                                                .output = output,
                                                .normalized = keeps ? &normalized : nullptr,
                                                .rstd = keeps ? &rstd : nullptr});
            return keeps ? std::vector<Tensor>{output, normalized} : std::vector<Tensor>{output};
          });
  });
}

BOOST_AUTO_TEST_CASE(layer_norm_backward) {
  for_generated_cases("layer_norm_backward", 250, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.integer(0, 5) == 0 ? random.integer(30, 70) : random.size(8);
    const int64_t hidden_size = random.size(rows > 8 ? 40 : 600);
    const bool wants_input = random.coin(), wants_residual = random.coin(), wants_weight = random.coin(),
               wants_bias = random.coin(), in_place = random.coin();
    const double probability = random.coin() ? 0.1 : 0;
    const PhiloxKey key = dropout_key(random.bits(), 1, 2);
    check({random.floats({rows, hidden_size}), random.floats({rows, hidden_size}),
           random.floats({rows}, 0.5, 1), random.floats({hidden_size}), random_example_ids(random, rows),
           random.int32s(rows, 0, 100)},
          [=](Inputs in) {
            const Tensor grad_output = in[0].clone();
            const Tensor grad_input = in_place ? grad_output : Tensor::empty_like(in[0]);
            const Tensor grad_residual = Tensor::empty_like(in[0]);
            const Tensor grad_weight = vector_on(in[0], hidden_size),
                         grad_bias = vector_on(in[0], hidden_size);
            const DropoutMask mask{probability, key, in[4], in[5]};
            in[0].backend().layer_norm_backward({.grad_output = grad_output,
                                                 .normalized = in[1],
                                                 .rstd = in[2],
                                                 .weight = in[3],
                                                 .mask = mask,
                                                 .grad_input = wants_input ? &grad_input : nullptr,
                                                 .grad_residual = wants_residual ? &grad_residual : nullptr,
                                                 .grad_weight = wants_weight ? &grad_weight : nullptr,
                                                 .grad_bias = wants_bias ? &grad_bias : nullptr});
            std::vector<Tensor> results;
            if (wants_input) results.push_back(grad_input);
            if (wants_residual) results.push_back(grad_residual);
            if (wants_weight) results.push_back(grad_weight);
            if (wants_bias) results.push_back(grad_bias);
            return results;
          });
  });
}

BOOST_AUTO_TEST_CASE(gather_and_scatter) {
  for_generated_cases("gather and scatter", 200, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(60), table_rows = random.size(40), columns = random.size(200);
    const int64_t skip_index = random.coin() ? 0 : -1;
    const DType dtype = random.activation_dtype();
    check({random.floats({table_rows, columns}).to(dtype), random.int32s(rows, 0, table_rows - 1),
           random.floats({rows, columns}).to(dtype)},
          [=](Inputs in) {
            const Tensor gathered = Tensor::empty_like(in[2]), scattered = Tensor::empty_like(in[0]);
            const Tensor indices = Tensor::empty({rows, 1}, DType::int32, in[0].device());
            Backend& backend = in[0].backend();
            backend.gather_rows({.input = in[0], .index = in[1], .output = gathered});
            const Tensor index_table = Tensor::full({table_rows, 1}, 7, DType::int32, in[0].device());
            backend.gather_rows({.input = index_table, .index = in[1], .output = indices});
            backend.scatter_add_rows(
                {.grad_output = in[2], .index = in[1], .grad_input = scattered, .skip_index = skip_index});
            return std::vector<Tensor>{gathered, indices, scattered};
          });
  });
}

BOOST_AUTO_TEST_CASE(squared_gradients) {
  for_generated_cases("squared gradients", 200, [](CaseRandom& random, const CheckCase& check) {
    const int64_t batch = random.integer(1, 6), table_rows = random.integer(1, 30);
    const Tensor cu_seqlens = random.cu_seqlens(batch, random.integer(0, 1), random.coin() ? 1 : 20);
    const int64_t rows = cu_seqlens.to_vector<int32_t>().back(), m = random.size(50), n = random.size(50);
    const int64_t begin = random.integer(0, m - 1), skip_index = random.coin() ? 0 : -1;
    const bool with_factor = random.coin();
    const DType dtype = random.activation_dtype();
    if (rows == 0) return;
    check(
        {random.floats({rows, m}), random.floats({rows, n}), random.floats({rows, m - begin}), cu_seqlens,
         random.int32s(rows, 0, table_rows - 1)},
        [=](Inputs in) {
          const MatrixRef a = MatrixRef(in[0]).columns(begin, m);
          const Tensor of_bias = vector_on(in[0], m - begin);
          const Tensor of_weight = Tensor::empty({m - begin, n}, DType::float32, in[0].device());
          const Tensor of_table = Tensor::empty({table_rows, n}, DType::float32, in[0].device());
          Backend& backend = in[0].backend();
          backend.squared_column_sums(
              {.input = a, .factor = with_factor ? &in[2] : nullptr, .cu_seqlens = in[3], .output = of_bias});
          const Tensor first = in[0].to(dtype), second = in[1].to(dtype);
          backend.squared_products({.a = MatrixRef(first).columns(begin, m),
                                    .b = second,
                                    .cu_seqlens = in[3],
                                    .output = of_weight});
          backend.squared_scatter_add_rows({.grad_output = in[1],
                                            .index = in[4],
                                            .cu_seqlens = in[3],
                                            .grad_input = of_table,
                                            .skip_index = skip_index});
          return std::vector<Tensor>{of_bias, of_weight, of_table};
        });
  });
}

BOOST_AUTO_TEST_CASE(losses) {
  for_generated_cases("losses", 200, [](CaseRandom& random, const CheckCase& check) {
    const int64_t num_rows = random.size(12), num_classes = random.size(300);
    const double scale = 1.0 / static_cast<double>(num_rows), spread = random.integer(0, 4) == 0 ? 1e4 : 3;
    const bool wants_gradient = random.coin();
    check({random.floats({num_rows, num_classes}, spread), random.int32s(num_rows, -1, num_classes - 1),
           random.floats({num_rows})},
          [=](Inputs in) {
            const Tensor loss = scalar_on(in[0]), error = scalar_on(in[0]);
            const Tensor grad_logits = Tensor::empty_like(in[0]),
                         grad_predictions = vector_on(in[0], num_rows);
            Backend& backend = in[0].backend();
            backend.cross_entropy({.logits = in[0],
                                   .labels = in[1],
                                   .scale = scale,
                                   .loss = loss,
                                   .grad_logits = wants_gradient ? &grad_logits : nullptr});
            const Tensor predictions = vector_on(in[0], num_rows);
            backend.copy_matrix(MatrixRef(in[0]).columns(0, 1), predictions.reshape({num_rows, 1}));
            backend.squared_error({.predictions = predictions,
                                   .targets = in[2],
                                   .scale = scale,
                                   .loss = error,
                                   .grad_predictions = wants_gradient ? &grad_predictions : nullptr});
            if (!wants_gradient) return std::vector<Tensor>{loss, error};
            return std::vector<Tensor>{loss, error, grad_logits, grad_predictions};
          });
  });
}

BOOST_AUTO_TEST_SUITE_END()
