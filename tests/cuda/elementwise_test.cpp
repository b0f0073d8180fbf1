#include <bit>
#include <cmath>
#include <limits>

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

const Tensor* pointer_or_null(const Tensor& tensor) {
  return tensor.defined() ? &tensor : nullptr;
}

std::vector<Tensor> those_defined(std::vector<Tensor> tensors) {
  std::erase_if(tensors, [](const Tensor& tensor) { return !tensor.defined(); });
  return tensors;
}

}  // namespace

BOOST_AUTO_TEST_CASE(add_and_multiply) {
  for_generated_cases("add and multiply", 120, [](CaseRandom& random, const CheckCase& check) {
    const Shape shape{random.size(40), random.size(70)};
    const DType dtype = random.activation_dtype();
    check({random.floats(shape), random.floats(shape)}, [dtype](Inputs in) {
      const Tensor a = in[0].to(dtype), b = in[1].to(dtype);
      const Tensor sum = Tensor::empty_like(a), product = Tensor::empty_like(in[0]);
      in[0].backend().add(a, b, sum);
      in[0].backend().multiply(in[0], in[1], product);
      return std::vector<Tensor>{sum, product};
    });
  });
}

/// From and to places at any distance from multiples of 16 bytes, next to bytes that stay as they are.
BOOST_AUTO_TEST_CASE(copies) {
  for_generated_cases("copies", 80, [](CaseRandom& random, const CheckCase& check) {
    const int64_t step = int64_t{1} << random.integer(0, 4);  // all places are multiples of it
    const int64_t size = step * random.integer(0, 200), from = step * random.integer(0, 20),
                  to = step * random.integer(0, 20);
    check({random.bytes({from + size}), random.bytes({to + size + 20})}, [=](Inputs in) {
      const Tensor source = in[0].slice(from, from + size), destination = in[1].clone();
      destination.slice(to, to + size).copy_from(source);
      std::vector<int32_t> bytes;  // integers are compared bit for bit
      for (const uint8_t byte : destination.to_vector<uint8_t>()) bytes.push_back(byte);
      return std::vector<Tensor>{Tensor::from_values({destination.numel()}, bytes, destination.device())};
    });
  });
}

BOOST_AUTO_TEST_CASE(scale_and_add_scaled) {
  for_generated_cases("scale", 120, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(30), width = random.size(60);
    const Columns columns(random, width);
    const DType dtype = random.activation_dtype();
    check({random.floats({rows + 1, columns.count()}).to(dtype), random.floats({rows, width}).to(dtype)},
          [columns](Inputs in) {
            const Tensor input = without_first_row(in[0]), scaled = input.clone(), sum = in[1].clone();
            input.backend().scale(input, -0.3, scaled);
            input.backend().scale(scaled, 1.1, scaled);
            input.backend().add_scaled(input, 1.7, columns.of(sum));
            return std::vector<Tensor>{scaled, sum};
          });
  });
}

BOOST_AUTO_TEST_CASE(scale_by) {
  for_generated_cases("scale_by", 60, [](CaseRandom& random, const CheckCase& check) {
    check({random.floats({random.size(60) + 1, random.size(30)}), random.floats({})}, [](Inputs in) {
      const Tensor input = without_first_row(in[0]), apart = Tensor::empty_like(input),
                   in_place = input.clone();
      input.backend().scale_by(input, in[1], apart);
      input.backend().scale_by(in_place, in[1], in_place);
      return std::vector<Tensor>{apart, in_place};
    });
  });
}

BOOST_AUTO_TEST_CASE(add_bias) {
  for_generated_cases("add_bias", 120, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(30), width = random.size(60);
    const Columns columns(random, width);
    const DType dtype = random.activation_dtype();
    check({random.floats({rows, width}).to(dtype), random.floats({columns.count()})}, [=](Inputs in) {
      const Tensor output = in[0].clone();
      in[0].backend().add_bias(columns.of(output), in[1], columns.of(output));
      const Tensor elsewhere = Tensor::empty({in[0].size(0), columns.count()}, dtype, in[0].device());
      in[0].backend().add_bias(columns.of(in[0]), in[1], elsewhere);
      return std::vector<Tensor>{output, elsewhere};
    });
  });
}

/// Also slices that begin elsewhere than at multiples of four elements.
BOOST_AUTO_TEST_CASE(activations) {
  for_generated_cases("activations", 300, [](CaseRandom& random, const CheckCase& check) {
    const auto activation = static_cast<Activation>(random.integer(0, 4));
    const double scale = random.coin() ? 4 : 50;
    const int64_t size = random.size(1500), begin = random.integer(0, std::min<int64_t>(size, 5));
    const DType dtype = random.activation_dtype();
    check({random.floats({size}, scale).to(dtype), random.floats({size - begin}).to(dtype)},
          [activation, size, begin](Inputs in) {
            const Tensor input = in[0].slice(begin, size), output = Tensor::empty_like(input),
                         grad = in[1].clone();
            in[0].backend().activation_forward(activation, input, output);
            in[0].backend().activation_backward(
                {.activation = activation, .input = input, .grad_output = grad, .grad_input = grad});
            return std::vector<Tensor>{output, grad};
          });
  });
}

/// Matrices, the sums of whose columns are taken on the way, or the activation itself, or both: a part of a
/// piece of rows, or several, or none.
BOOST_AUTO_TEST_CASE(activations_with_by_products) {
  for_generated_cases("activations with by-products", 160, [](CaseRandom& random, const CheckCase& check) {
    const auto activation = static_cast<Activation>(random.integer(0, 4));
    const int64_t rows = random.integer(0, 60),
                  columns = random.coin() ? 4 * random.size(150) : random.size(600);
    const DType dtype = random.activation_dtype();
    const bool in_place = random.coin(), with_sums = random.coin(), with_output = !with_sums || random.coin();
    const bool over_input = random.coin();
    check({random.floats({rows, columns}, 4).to(dtype), random.floats({rows, columns}).to(dtype)},
          [=](Inputs in) {
            const Tensor grad_output = in[1].clone(),
                         grad_input = in_place ? grad_output : Tensor::empty_like(grad_output),
                         sums =
                             with_sums ? Tensor::empty({columns}, DType::float32, in[0].device()) : Tensor(),
                         input = in[0].clone(),
                         output = !with_output ? Tensor()
                                  : over_input ? input
                                               : Tensor::empty_like(input);
            in[0].backend().activation_backward({.activation = activation,
                                                 .input = input,
                                                 .grad_output = grad_output,
                                                 .grad_input = grad_input,
                                                 .column_sums = pointer_or_null(sums),
                                                 .output = pointer_or_null(output)});
            return those_defined({grad_input, sums, output});
          });
  });
}

/// In floats beside floats, in bytes beside both.
BOOST_AUTO_TEST_CASE(activations_with_derivatives) {
  for_generated_cases("activations with derivatives", 160, [](CaseRandom& random, const CheckCase& check) {
    const auto activation = static_cast<Activation>(random.integer(0, 4));
    const double scale = random.coin() ? 4 : 50;
    const int64_t size = random.size(1500), begin = random.integer(0, std::min<int64_t>(size, 5));
    const DType dtype = random.activation_dtype();
    const DType kept = random.coin() ? DType::uint8 : derivative_dtype(dtype, ProductPrecision::float32);
    const bool in_place = random.coin();
    check({random.floats({size}, scale).to(dtype)}, [=](Inputs in) {
      const Tensor whole = in[0].clone(), input = whole.slice(begin, size),
                   output = in_place ? input : Tensor::empty_like(input),
                   derivative = Tensor::empty({size}, kept, input.device()).slice(begin, size);
      input.backend().activation_with_derivative(activation, input, output, derivative);
      return std::vector<Tensor>{output, derivative};
    });
  });
}

BOOST_AUTO_TEST_CASE(derivative_backward) {
  for_generated_cases("derivative_backward", 160, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.integer(0, 60),
                  columns = random.coin() ? 4 * random.size(150) : random.size(600);
    const DType dtype = random.activation_dtype();
    const bool in_bytes = dtype == DType::bfloat16 || random.coin();
    const bool in_place = random.coin(), with_sums = random.coin();
    check({in_bytes ? random.bytes({rows, columns}) : random.floats({rows, columns}, 1),
           random.floats({rows, columns}).to(dtype)},
          [=](Inputs in) {
            const Tensor grad_output = in[1].clone(),
                         grad_input = in_place ? grad_output : Tensor::empty_like(grad_output),
                         sums =
                             with_sums ? Tensor::empty({columns}, DType::float32, in[0].device()) : Tensor();
            in[0].backend().derivative_backward({.derivative = in[0],
                                                 .grad_output = grad_output,
                                                 .grad_input = grad_input,
                                                 .column_sums = pointer_or_null(sums)});
            return those_defined({grad_input, sums});
          });
  });
}

/// The masks are the CPU's: the same elements are zero, the others have the same bits.
BOOST_AUTO_TEST_CASE(dropout) {
  for_generated_cases("dropout", 250, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(20), columns = random.size(300);
    const double probability = random.coin() ? 0.1 : 0.5;
    const DType dtype = random.activation_dtype();
    const PhiloxKey key = dropout_key(random.bits(), 3, 17);
    const Tensor example_ids =
        Tensor::from_values({rows}, std::vector<int64_t>(static_cast<size_t>(rows), 123456789012));
    check({random.floats({rows, columns}), example_ids, random.int32s(rows, 0, 511)},
          [probability, key, dtype](Inputs in) {
            const Tensor output = in[0].to(dtype).clone();
            in[0].backend().dropout(output, {probability, key, in[1], in[2]}, output);
            const Tensor values = output.to(DType::float32);
            // As integers, which are compared bit for bit.
            const Tensor bits = Tensor::empty(values.shape(), DType::int32, values.device());
            in[0].backend().copy(bits.raw_data(), values.raw_data(), values.nbytes());
            return std::vector<Tensor>{bits};
          });
  });
}

/// To bfloat16 and back: bit for bit, also of numbers in the middle between two of bfloat16, which go to the
/// even one, of those that overflow, and of no numbers.
BOOST_AUTO_TEST_CASE(convert) {
  for_generated_cases("convert", 60, [](CaseRandom& random, const CheckCase& check) {
    const int64_t size = random.size(900);
    std::vector<float> values = random.floats({size}, random.coin() ? 3 : 1e-40).to_vector<float>();
    for (float& value : values) {
      const int64_t kind = random.integer(0, 9);
      if (kind == 0) value = std::bit_cast<float>((std::bit_cast<uint32_t>(value) & 0xFFFF0000u) | 0x8000u);
      if (kind == 1) value = random.coin() ? std::numeric_limits<float>::infinity() : 3.4e38f;
      if (kind == 2) value = std::numeric_limits<float>::quiet_NaN();
    }
    check({Tensor::from_values({size}, values)}, [size](Inputs in) {
      std::vector<int32_t> bits;
      for (const float value : in[0].to(DType::bfloat16).to(DType::float32).to_vector<float>()) {
        bits.push_back(std::isnan(value) ? -1 : std::bit_cast<int32_t>(value));
      }
      return std::vector<Tensor>{Tensor::from_values({size}, bits)};
    });
  });
}

BOOST_AUTO_TEST_CASE(moving_values) {
  for_generated_cases("moving values", 150, [](CaseRandom& random, const CheckCase& check) {
    const int64_t rows = random.size(20), width = random.size(40);
    const Columns columns(random, width);
    const DType dtype = random.activation_dtype();
    check({random.floats({rows, width}).to(dtype), random.int32s(rows * 2, -9, 9)}, [=](Inputs in) {
      const Device device = in[0].device();
      const Tensor part = Tensor::empty({in[0].size(0), columns.count()}, dtype, device);
      in[0].backend().copy_matrix(columns.of(in[0]), part);
      const Tensor pairs = in[1].reshape({in[0].size(0), 2});
      const Tensor firsts = Tensor::empty({in[0].size(0), 1}, DType::int32, device);
      in[0].backend().copy_matrix(MatrixRef(pairs).columns(0, 1), firsts);
      return std::vector<Tensor>{part, firsts, Tensor::full({7}, 1.5, dtype, device),
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

namespace {

/// Of gradients; now and then one with which nothing moves.
double draw_scale(CaseRandom& random) {
  return random.integer(0, 4) == 0 ? std::nan("") : 0.5;
}

Tensor scalar_beside(Inputs in, double value) {
  return Tensor::from_values(Shape{}, std::vector<double>{value}, in.empty() ? Device{} : in[0].device());
}

/// The tensors of an update: more of them sometimes than a kernel takes at once.
int64_t draw_num_tensors(CaseRandom& random) {
  const int64_t most = is_emulated() ? 130 : 1100;
  return random.integer(0, 29) == 0 ? random.integer(41, most) : random.integer(0, 6);
}

/// Some are shared out among several blocks.
int64_t draw_numel(CaseRandom& random) {
  return random.integer(0, 19) == 0 ? random.integer(0, 20'000) : random.size(900);
}

/// Of some parameters; undefined for the others.
Tensor draw_rounded_copy(CaseRandom& random, const Tensor& parameter) {
  return random.coin() ? parameter.to(DType::bfloat16) : Tensor();
}

Tensor clone_or_undefined(const Tensor& tensor) {
  return tensor.defined() ? tensor.clone() : Tensor();
}

}  // namespace

BOOST_AUTO_TEST_CASE(adamw_updates) {
  for_generated_cases("AdamW updates", 60, [](CaseRandom& random, const CheckCase& check) {
    const auto variant = static_cast<AdamWVariant>(random.integer(0, 2));
    const int64_t num_tensors = draw_num_tensors(random), step = random.integer(1, 9);
    const double scale = draw_scale(random);
    std::vector<Tensor> inputs;  // seven of each tensor; some have no indices, some no rounded copy
    for (int64_t t = 0; t < num_tensors; ++t) {
      const int64_t numel = draw_numel(random);
      const Tensor indices = random.coin() ? random.ascending_int64s(numel) : Tensor();
      const int64_t moments = indices.defined() ? indices.numel() : numel;
      const AdamWRule rule{.variant = variant, .eps = 1e-6};
      const double weight_decay = 0.1 * static_cast<double>(t);
      const Tensor parameter = random.floats({numel});
      inputs.insert(inputs.end(), {parameter, random.floats({numel}, 0.1), random.floats({moments}, 0.1),
                                   random.floats({moments}, 0.01, 0.01), indices,
                                   to_tensor({adamw_factors(rule, /*lr=*/1e-2, weight_decay, step)}),
                                   draw_rounded_copy(random, parameter)});
    }
    check(inputs, [scale](Inputs in) {
      std::vector<Tensor> results;  // four of each tensor
      for (size_t i = 0; i < in.size(); i += 7) {
        results.insert(results.end(),
                       {in[i].clone(), in[i + 2].clone(), in[i + 3].clone(), clone_or_undefined(in[i + 6])});
      }
      Backend::AdamWStep args{.tensors = {}, .gradient_scale = scalar_beside(in, scale)};
      for (size_t t = 0; t < in.size() / 7; ++t) {
        args.tensors.push_back({.parameter = results[4 * t],
                                .gradient = in[7 * t + 1],
                                .first_moment = results[4 * t + 1],
                                .second_moment = results[4 * t + 2],
                                .indices = pointer_or_null(in[7 * t + 4]),
                                .factors = in[7 * t + 5],
                                .rounded = pointer_or_null(results[4 * t + 3])});
      }
      if (!in.empty()) in[0].backend().adamw_step(args);
      return those_defined(results);
    });
  });
}

BOOST_AUTO_TEST_CASE(sgd_updates) {
  for_generated_cases("SGD updates", 40, [](CaseRandom& random, const CheckCase& check) {
    std::vector<Tensor> inputs;  // four of each tensor
    for (int64_t t = draw_num_tensors(random); t > 0; --t) {
      const int64_t numel = draw_numel(random);
      const Tensor parameter = random.floats({numel});
      inputs.insert(inputs.end(), {parameter, random.floats({numel}, 0.1),
                                   random.coin() ? random.ascending_int64s(numel) : Tensor(),
                                   draw_rounded_copy(random, parameter)});
    }
    check(inputs, [scale = draw_scale(random)](Inputs in) {
      std::vector<Tensor> results;  // two of each tensor
      for (size_t i = 0; i < in.size(); i += 4) {
        results.insert(results.end(), {in[i].clone(), clone_or_undefined(in[i + 3])});
      }
      Backend::SgdStep args{
          .tensors = {}, .lr = scalar_beside(in, 0.1), .gradient_scale = scalar_beside(in, scale)};
      for (size_t t = 0; t < in.size() / 4; ++t) {
        args.tensors.push_back({.parameter = results[2 * t],
                                .gradient = in[4 * t + 1],
                                .indices = pointer_or_null(in[4 * t + 2]),
                                .weight_decay = 0.01 * static_cast<double>(t),
                                .rounded = pointer_or_null(results[2 * t + 1])});
      }
      if (!in.empty()) in[0].backend().sgd_step(args);
      return those_defined(results);
    });
  });
}

BOOST_AUTO_TEST_CASE(float64_is_refused) {
  if (!device_at_hand()) return;
  const auto is_usage = [](const Error& error) { return error.kind() == ErrorKind::usage; };
  BOOST_CHECK_EXCEPTION(Tensor::zeros({3}, DType::float64, cuda_device), Error, is_usage);
}

BOOST_AUTO_TEST_SUITE_END()
