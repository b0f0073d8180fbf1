#include <array>
#include <cmath>

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

/// Rows of any width, half of them of whole fours of channels; now and then wider than a block's first
/// layouts.
int64_t random_hidden_size(CaseRandom& random) {
  if (random.integer(0, 11) == 0) return std::array{1030, 1540, 2052, 4100, 8192}[random.integer(0, 4)];
  return random.coin() ? 4 * random.size(200) : random.size(800);
}

/// A tensor that begins at any element of a longer one.
struct SliceOfRows {
  int64_t offset, rows, columns;

  SliceOfRows(CaseRandom& random, int64_t num_rows, int64_t num_columns)
      : offset(random.coin() ? 0 : random.integer(1, 4)), rows(num_rows), columns(num_columns) {}
  int64_t size() const { return offset + rows * columns; }
  Tensor of(const Tensor& longer) const { return longer.slice(offset, size()).reshape({rows, columns}); }
};

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
      backend.column_sums({.input = MatrixRef(in[0]).columns(begin, width), .outputs = {columns}});
      return std::vector<Tensor>{all, columns, squared_norms({{in[0]}, {in[0], &in[1]}})};
    });
  });
}

/// Columns of a wider matrix, of which half the cases read whole fours; several pieces of rows, or none.
BOOST_AUTO_TEST_CASE(column_sums) {
  for_generated_cases("column sums", 120, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.integer(0, 200), unit = random.coin() ? 4 : 1;
    const int64_t begin = unit * random.integer(0, 3), columns = unit * random.size(600 / unit),
                  width = begin + columns + unit * random.integer(0, 3), num_outputs = random.integer(1, 4);
    const DType dtype = random.activation_dtype();
    check({random.floats({rows, width}, 2, 0.5).to(dtype)}, [=](Inputs in) {
      std::vector<Tensor> sums;
      for (int64_t i = 0, first = 0; i < num_outputs; ++i) {
        const int64_t end = (i + 1) * columns / num_outputs;
        sums.push_back(vector_on(in[0], end - first));
        first = end;
      }
      in[0].backend().column_sums(
          {.input = MatrixRef(in[0]).columns(begin, begin + columns), .outputs = sums});
      return sums;
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

/// Of up to 700 gradients and some batches; among the numbers now and then one that is not finite, for which
/// -1 stands.
BOOST_AUTO_TEST_CASE(clipping_factors) {
  for_generated_cases("clipping factors", 60, [](CaseRandom& random, const CheckCase& check) {
    const auto numbers = [&random](int64_t most) {
      const Tensor drawn = random.floats({random.integer(1, most)});
      if (random.integer(0, 4) == 0) {
        const int64_t at = random.integer(0, drawn.numel() - 1);
        drawn.slice(at, at + 1).fill(random.coin() ? HUGE_VAL : std::nan(""));
      }
      return drawn;
    };
    const double max_norm = std::array{0.0, 0.5, 30.0}[random.integer(0, 2)];
    check({numbers(700), numbers(5)}, [max_norm](Inputs in) {
      std::vector<double> squares;
      for (const float number : in[0].to_vector<float>()) squares.push_back(std::pow(number, 2));
      const Tensor squared_norms = Tensor::from_values(in[0].shape(), squares, in[0].device()),
                   factor = Tensor::empty({}, DType::float64, in[0].device());
      in[0].backend().clipping_factor(
          {.squared_norms = squared_norms, .losses = in[1], .max_norm = max_norm, .factor = factor});
      const double found = factor.item();
      return std::vector<Tensor>{Tensor::full({}, std::isnan(found) ? -1 : found, DType::float32)};
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

/// A gradient is P (dY - rowsum(P dY)), a difference that is small where one probability is almost 1: P
/// stands for it.
BOOST_AUTO_TEST_CASE(softmax) {
  const Comparison compare = [](Inputs found, Inputs expected) {
    check_near(found[0], expected[0]);
    check_near(found[1], expected[1], {.least_size = root_mean_square(expected[0])});
  };
  for_generated_cases("softmax", 150, [&](CaseRandom& random, const CheckCase& check) {
    const Shape shape{random.size(8), random.size(300)};
    const double scale = random.integer(0, 3) == 0 ? 1e4 : 5;
    check(
        {random.floats(shape, scale), random.floats(shape)},
        [](Inputs in) {
          const Tensor probs = Tensor::empty_like(in[0]), grad = in[1].clone();
          in[0].backend().softmax_forward(in[0], probs);
          in[0].backend().softmax_backward(probs, grad, grad);
          return std::vector<Tensor>{probs, grad};
        },
        compare);
  });
}

/// Also rows whose values differ little, or are so large that their squares have no place in a float.
BOOST_AUTO_TEST_CASE(layer_norm_forward) {
  struct Values {
    double scale, offset;
  };
  constexpr std::array<Values, 7> of_rows{
      {{2, 0}, {2, 0}, {2, 0}, {2, 0}, {2, 1e4}, {1e29, 1e30}, {1e-31, -3e-30}}};
  for_generated_cases("layer_norm_forward", 300, [&](CaseRandom& random, const CheckCase& check) {
    const int64_t hidden_size = random_hidden_size(random),
                  rows = random.integer(0, 15) == 0 ? 0 : random.size(hidden_size > 800 ? 3 : 8);
    const SliceOfRows slice(random, rows, hidden_size);
    const bool has_residual = random.coin(), keeps = random.coin(), in_place = random.coin();
    const double probability = random.coin() ? 0.1 : 0;
    const auto [scale, offset] = of_rows[static_cast<size_t>(random.integer(0, 6))];
    const DType dtype = random.activation_dtype();
    const PhiloxKey key = dropout_key(random.bits(), 1, 2);
    check({random.floats({slice.size()}, scale, offset).to(dtype), random.floats({slice.size()}).to(dtype),
           random.floats({hidden_size}), random.floats({hidden_size}), random_example_ids(random, rows),
           random.int32s(rows, 0, 100)},
          [=](Inputs in) {
            const Tensor input = slice.of(in_place ? in[0].clone() : in[0]), residual = slice.of(in[1]);
            const Tensor output = in_place ? input : Tensor::empty_like(input),
                         normalized = Tensor::empty_like(input);
            const Tensor rstd = vector_on(input, rows);
            const DropoutMask mask{probability, key, in[4], in[5]};
            input.backend().layer_norm_forward({.input = input,
                                                .residual = has_residual ? &residual : nullptr,
                                                .mask = mask,
                                                .weight = in[2],
                                                .bias = in[3],
                                                .eps = 1e-12,
                                                .output = output,
                                                .normalized = keeps ? &normalized : nullptr,
                                                .rstd = keeps ? &rstd : nullptr});
            return keeps ? std::vector<Tensor>{output, normalized, rstd} : std::vector<Tensor>{output};
          });
  });
}

BOOST_AUTO_TEST_CASE(embeddings_layer_norm) {
  for_generated_cases("embeddings_layer_norm", 150, [](CaseRandom& random, const CheckCase& check) {
    const int64_t hidden_size = random_hidden_size(random),
                  rows = random.integer(0, 15) == 0 ? 0 : random.size(hidden_size > 800 ? 3 : 8);
    const int64_t words = random.size(20), positions = random.size(10), token_types = random.integer(1, 2);
    const SliceOfRows word_slice(random, words, hidden_size);
    const bool keeps = random.coin();
    const double probability = random.coin() ? 0.1 : 0;
    const PhiloxKey key = dropout_key(random.bits(), 1, 2);
    check({random.floats({word_slice.size()}), random.floats({positions, hidden_size}),
           random.floats({token_types, hidden_size}), random.int32s(rows, 0, words - 1),
           random.int32s(rows, 0, positions - 1), random.int32s(rows, 0, token_types - 1),
           random.floats({hidden_size}), random.floats({hidden_size}), random_example_ids(random, rows)},
          [=](Inputs in) {
            const Tensor word_rows = word_slice.of(in[0]);
            const Tensor output = Tensor::empty({rows, hidden_size}, DType::float32, in[0].device()),
                         normalized = Tensor::empty_like(output), rstd = vector_on(in[0], rows);
            const DropoutMask mask{probability, key, in[8], in[4]};
            in[0].backend().embeddings_layer_norm(
                {.tables = {{{word_rows, in[3]}, {in[1], in[4]}, {in[2], in[5]}}},
                 .mask = mask,
                 .weight = in[6],
                 .bias = in[7],
                 .eps = 1e-12,
                 .output = output,
                 .normalized = keeps ? &normalized : nullptr,
                 .rstd = keeps ? &rstd : nullptr});
            return keeps ? std::vector<Tensor>{output, normalized, rstd} : std::vector<Tensor>{output};
          });
  });
}

/// Column sums have no rows, a part of a piece, or several pieces.
BOOST_AUTO_TEST_CASE(layer_norm_backward) {
  for_generated_cases("layer_norm_backward", 300, [](CaseRandom& random, const CheckCase& check) {
    const bool many_rows = random.integer(0, 4) == 0;
    const int64_t hidden_size = many_rows ? random.size(130) : random_hidden_size(random),
                  rows = many_rows ? random.integer(0, 100) : random.size(hidden_size > 800 ? 3 : 8);
    const SliceOfRows slice(random, rows, hidden_size);
    const bool wants_input = random.coin(), wants_residual = random.coin(), wants_weight = random.coin(),
               wants_bias = random.coin(), wants_sums = wants_input && random.coin(),
               in_place = random.coin();
    const double probability = random.coin() ? 0.1 : 0;
    const DType dtype = random.activation_dtype();
    const PhiloxKey key = dropout_key(random.bits(), 1, 2);
    check({random.floats({slice.size()}).to(dtype), random.floats({slice.size()}).to(dtype),
           random.floats({rows}, 0.5, 1), random.floats({hidden_size}), random_example_ids(random, rows),
           random.int32s(rows, 0, 100)},
          [=](Inputs in) {
            const Tensor grad_output = slice.of(in[0].clone()), normalized = slice.of(in[1]);
            const Tensor elsewhere = Tensor::empty_like(grad_output), also = Tensor::empty_like(grad_output);
            const Tensor grad_input = in_place && wants_input ? grad_output : elsewhere,
                         grad_residual = in_place && !wants_input ? grad_output : also;
            const Tensor grad_weight = vector_on(in[0], hidden_size),
                         grad_bias = vector_on(in[0], hidden_size),
                         column_sums = vector_on(in[0], hidden_size);
            const DropoutMask mask{probability, key, in[4], in[5]};
            in[0].backend().layer_norm_backward({.grad_output = grad_output,
                                                 .normalized = normalized,
                                                 .rstd = in[2],
                                                 .weight = in[3],
                                                 .mask = mask,
                                                 .grad_input = wants_input ? &grad_input : nullptr,
                                                 .grad_residual = wants_residual ? &grad_residual : nullptr,
                                                 .grad_weight = wants_weight ? &grad_weight : nullptr,
                                                 .grad_bias = wants_bias ? &grad_bias : nullptr,
                                                 .column_sums = wants_sums ? &column_sums : nullptr});
            std::vector<Tensor> results;
            if (wants_input) results.push_back(grad_input);
            if (wants_residual) results.push_back(grad_residual);
            if (wants_weight) results.push_back(grad_weight);
            if (wants_bias) results.push_back(grad_bias);
            if (wants_sums) results.push_back(column_sums);
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
    const bool many = random.integer(0, 5) == 0;
    const int64_t batch = many ? random.integer(30, 70) : random.integer(1, 6),
                  table_rows = random.integer(1, 30);
    const Tensor cu_seqlens = random.cu_seqlens(batch, random.integer(0, 1), many || random.coin() ? 1 : 20);
    const int64_t rows = cu_seqlens.to_vector<int32_t>().back(), m = random.size(50), n = random.size(50);
    const int64_t begin = random.integer(0, m - 1), skip_index = random.coin() ? 0 : -1;
    const bool with_factor = random.coin();
    const DType dtype = random.activation_dtype();
    if (rows == 0) return;
    check({random.floats({rows, m}), random.floats({rows, n}), random.floats({rows, m - begin}), cu_seqlens,
           random.int32s(rows, 0, table_rows - 1)},
          [=](Inputs in) {
            const Tensor of_bias = vector_on(in[0], m - begin);
            const Tensor of_weight = Tensor::empty({m - begin, n}, DType::float32, in[0].device());
            const Tensor of_table = Tensor::empty({table_rows, n}, DType::float32, in[0].device());
            Backend& backend = in[0].backend();
            const Tensor first = in[0].to(dtype), second = in[1].to(dtype), factor = in[2].to(dtype);
            const MatrixRef a = MatrixRef(first).columns(begin, m);
            backend.squared_column_sums({.input = a,
                                         .factor = with_factor ? &factor : nullptr,
                                         .cu_seqlens = in[3],
                                         .output = of_bias});
            backend.squared_products({.a = a, .b = second, .cu_seqlens = in[3], .output = of_weight});
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

/// No rows: every kernel takes them, and sums over rows are zero.
BOOST_AUTO_TEST_CASE(a_matrix_without_rows) {
  if (!device_at_hand()) return;
  constexpr int64_t columns = 12;
  const auto zeros = [](const Shape& shape) { return Tensor::zeros(shape, DType::float32, cuda_device); };
  const auto unset = [](const Shape& shape) { return Tensor::full(shape, NAN, DType::float32, cuda_device); };
  const Tensor none = zeros({0, columns}), rstd = zeros({0}), weight = zeros({columns}),
               index = Tensor::zeros({0}, DType::int32, cuda_device);
  const DropoutMask no_dropout;
  Backend& backend = none.backend();
  backend.add(none, none, none);
  backend.multiply(none, none, none);
  backend.scale(none, 2, none);
  backend.add_bias(none, weight.reshape({1, columns}), none);
  backend.activation_forward(Activation::gelu, none, none);
  backend.softmax_forward(none, none);
  backend.softmax_backward(none, none, none);
  backend.dropout(none, no_dropout, none);
  backend.gather_rows({.input = zeros({3, columns}), .index = index, .output = none});
  backend.matmul({.a = none, .b = zeros({columns, columns}), .c = none});
  backend.matmul({.a = zeros({3, columns}), .b = zeros({columns, 0}), .c = zeros({3, 0})});
  backend.layer_norm_forward({.input = none,
                              .residual = &none,
                              .mask = no_dropout,
                              .weight = weight,
                              .bias = weight,
                              .eps = 1e-12,
                              .output = none,
                              .normalized = &none,
                              .rstd = &rstd});
  const Tensor table_of_three = zeros({3, columns});
  backend.embeddings_layer_norm(
      {.tables = {{{table_of_three, index}, {table_of_three, index}, {table_of_three, index}}},
       .mask = no_dropout,
       .weight = weight,
       .bias = weight,
       .eps = 1e-12,
       .output = none,
       .normalized = &none,
       .rstd = &rstd});

  const Tensor column_sums = unset({columns}), slope_sums = unset({columns}), grad_weight = unset({columns}),
               grad_bias = unset({columns}), table = unset({3, columns}), product = unset({columns, columns});
  backend.column_sums({.input = none, .outputs = {column_sums}});
  backend.activation_backward({.activation = Activation::gelu,
                               .input = none,
                               .grad_output = none,
                               .grad_input = none,
                               .column_sums = &slope_sums});
  backend.layer_norm_backward({.grad_output = none,
                               .normalized = none,
                               .rstd = rstd,
                               .weight = weight,
                               .mask = no_dropout,
                               .grad_input = &none,
                               .grad_weight = &grad_weight,
                               .grad_bias = &grad_bias});
  backend.scatter_add_rows({.grad_output = none, .index = index, .grad_input = table});
  backend.matmul({.a = none, .transpose_a = true, .b = none, .c = product});
  for (const Tensor& sums : {column_sums, slope_sums, grad_weight, grad_bias, table, product}) {
    BOOST_TEST(sums.to_vector<float>() == std::vector<float>(static_cast<size_t>(sums.numel()), 0.F));
  }
}

BOOST_AUTO_TEST_SUITE_END()
