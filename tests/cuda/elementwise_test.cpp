#include "tests/cuda/device_testing.h"

using namespace normtune;
using namespace normtune::test;

BOOST_AUTO_TEST_SUITE(elementwise)

namespace {

using Inputs = const std::vector<Tensor>&;

/// Columns of a wider matrix: how the parts of a fused product are addressed.
struct Columns {
  int64_t begin, end;

  Columns(CaseRandom& random, int64_t width)
      : begin(random.integer(0, width - 1)), end(random.integer(begin + 1, width)) {}
  MatrixRef of(const Tensor& tensor) const { return MatrixRef(tensor).columns(begin, end); }
  int64_t count() const { return end - begin; }
};

}  // namespace

BOOST_AUTO_TEST_CASE(add_and_multiply) {
  for_generated_cases("add and multiply", 120, [](CaseRandom& random, const CheckCase& check) {
    const Shape shape{random.size(40), random.size(70)};
    check({random.floats(shape), random.floats(shape)}, [](Inputs in) {
      const Tensor sum = Tensor::empty_like(in[0]), product = Tensor::empty_like(in[0]);
      in[0].backend().add(in[0], in[1], sum);
      in[0].backend().multiply(in[0], in[1], product);
      return std::vector<Tensor>{sum, product};
    });
  });
}

BOOST_AUTO_TEST_CASE(scale_and_add_scaled) {
  for_generated_cases("scale", 120, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(30), width = random.size(60);
    const Columns columns(random, width);
    check({random.floats({rows + 1, columns.count()}), random.floats({rows, width})}, [columns](Inputs in) {
      const Tensor input = without_first_row(in[0]), scaled = input.clone(), sum = in[1].clone();
      input.backend().scale(scaled, -0.3, scaled);
      input.backend().add_scaled(input, 1.7, columns.of(sum));
      return std::vector<Tensor>{scaled, sum};
    });
  });
}

BOOST_AUTO_TEST_CASE(add_bias) {
  for_generated_cases("add_bias", 120, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(30), width = random.size(60);
    const Columns columns(random, width);
    check({random.floats({rows, width}), random.floats({columns.count()})}, [columns](Inputs in) {
      const Tensor output = in[0].clone();
      in[0].backend().add_bias(columns.of(output), in[1], columns.of(output));
      const Tensor elsewhere =
          Tensor::empty({in[0].size(0), columns.count()}, DType::float32, in[0].device());
      in[0].backend().add_bias(columns.of(in[0]), in[1], elsewhere);
      return std::vector<Tensor>{output, elsewhere};
    });
  });
}

BOOST_AUTO_TEST_CASE(activations) {
  for_generated_cases("activations", 250, [](CaseRandom& random, const CheckCase& check) {
    const auto activation = static_cast<Activation>(random.integer(0, 4));
    const double scale = random.coin() ? 4 : 50;
    const Shape shape{random.size(1500)};
    check({random.floats(shape, scale), random.floats(shape)}, [activation](Inputs in) {
      const Tensor output = Tensor::empty_like(in[0]), grad = in[1].clone();
      in[0].backend().activation_forward(activation, in[0], output);
      in[0].backend().activation_backward(activation, in[0], grad, grad);
      return std::vector<Tensor>{output, grad};
    });
  });
}

/// The masks are the CPU's: the same elements are zero, the others have the same bits.
BOOST_AUTO_TEST_CASE(dropout) {
  for_generated_cases("dropout", 200, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(20), columns = random.size(300);
    const double probability = random.coin() ? 0.1 : 0.5;
    const PhiloxKey key = dropout_key(random.bits(), 3, 17);
    const Tensor example_ids =
        Tensor::from_values({rows}, std::vector<int64_t>(static_cast<size_t>(rows), 123456789012));
    check({random.floats({rows, columns}), example_ids, random.int32s(rows, 0, 511)},
          [probability, key](Inputs in) {
            const Tensor output = Tensor::empty_like(in[0]);
            in[0].backend().dropout(in[0], {probability, key, in[1], in[2]}, output);
            // As integers, which are compared bit for bit.
            const Tensor bits = Tensor::empty(output.shape(), DType::int32, output.device());
            in[0].backend().copy(bits.raw_data(), output.raw_data(), output.nbytes());
            return std::vector<Tensor>{bits};
          });
  });
}

BOOST_AUTO_TEST_CASE(moving_values) {
  for_generated_cases("moving values", 150, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(20), width = random.size(40);
    const Columns columns(random, width);
    check({random.floats({rows, width}), random.int32s(rows * 2, -9, 9)}, [columns](Inputs in) {
      const Device device = in[0].device();
      const Tensor part = Tensor::empty({in[0].size(0), columns.count()}, DType::float32, device);
      in[0].backend().copy_matrix(columns.of(in[0]), part);
      const Tensor pairs = in[1].reshape({in[0].size(0), 2});
      const Tensor firsts = Tensor::empty({in[0].size(0), 1}, DType::int32, device);
      in[0].backend().copy_matrix(MatrixRef(pairs).columns(0, 1), firsts);
      return std::vector<Tensor>{part, firsts, Tensor::full({7}, 1.5, DType::float32, device),
                                 Tensor::full({300}, -3, DType::int32, device),
                                 Tensor::full({2, 3}, 1LL << 40, DType::int64, device)};
    });
  });
}

BOOST_AUTO_TEST_CASE(permute) {
  for_generated_cases("permute", 150, [](CaseRandom& random, const CheckCase& check) {
    const int rank = static_cast<int>(random.integer(0, 4));
    std::vector<int64_t> sizes, permuted;
    std::vector<int> order;
    for (int dim = 0; dim < rank; ++dim) {
      sizes.push_back(random.integer(dim == 0 ? 0 : 1, 9));
      order.insert(order.begin() + random.integer(0, dim), dim);
    }
    for (const int dim : order) permuted.push_back(sizes[static_cast<size_t>(dim)]);
    check({random.floats(Shape(std::span<const int64_t>(sizes)))}, [order, permuted](Inputs in) {
      const Tensor output =
          Tensor::empty(Shape(std::span<const int64_t>(permuted)), DType::float32, in[0].device());
      in[0].backend().permute({.input = in[0], .output = output, .order = order});
      return std::vector<Tensor>{output};
    });
  });
}

BOOST_AUTO_TEST_CASE(updates) {
  for_generated_cases("updates", 150, [](CaseRandom& random, const CheckCase& check) {
    const auto variant = static_cast<AdamWVariant>(random.integer(0, 2));
    const bool listed = random.coin();
    const int64_t size = random.size(900), step = random.integer(1, 9);
    const Tensor indices = random.ascending_int64s(size);
    const int64_t moments = listed ? indices.numel() : size;
    check({random.floats({size}), random.floats({size}, 0.1), random.floats({moments}, 0.1),
           random.floats({moments}, 0.01, 0.01), indices},
          [variant, listed, step](Inputs in) {
            const Tensor by_adamw = in[0].clone(), by_sgd = in[0].clone(), first = in[2].clone(),
                         second = in[3].clone();
            const Tensor* chosen = listed ? &in[4] : nullptr;
            in[0].backend().adamw_step({.variant = variant,
                                        .parameter = by_adamw,
                                        .gradient = in[1],
                                        .first_moment = first,
                                        .second_moment = second,
                                        .indices = chosen,
                                        .lr = 1e-2,
                                        .beta1 = 0.9,
                                        .beta2 = 0.999,
                                        .eps = 1e-6,
                                        .weight_decay = 0.1,
                                        .gradient_scale = 0.5,
                                        .step = step});
            in[0].backend().sgd_step({by_sgd, in[1], chosen, 0.1, 0.01, 0.5});
            return std::vector<Tensor>{by_adamw, first, second, by_sgd};
          });
  });
}

BOOST_AUTO_TEST_CASE(float64_is_refused) {
  if (!device_at_hand()) return;
  const auto is_usage = [](const Error& error) { return error.kind() == ErrorKind::usage; };
  BOOST_CHECK_EXCEPTION(Tensor::zeros({3}, DType::float64, cuda_device), Error, is_usage);
}

BOOST_AUTO_TEST_SUITE_END()
