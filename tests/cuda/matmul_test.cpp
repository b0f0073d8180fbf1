#include <cmath>

#include "tests/cuda/device_testing.h"

using namespace normtune;
using namespace normtune::test;

/// On a device these are cuBLASLt's products; the emulated device hands them to the CPU, so that only the
/// tests themselves are tested there.
BOOST_AUTO_TEST_SUITE(matmul)

namespace {
using Inputs = const std::vector<Tensor>&;

/// Sums of k products of numbers in [-2, 2), which may cancel: their root mean square stands for them.
Tolerance of_sums(int64_t k) {
  return {.least_size = 4 / 3.0 * std::sqrt(static_cast<double>(k))};
}

/// The CPU has no TF32: its products are in float32 then.
void use_products_in(ProductPrecision precision, Backend& backend, Device device) {
  const bool is_there = precision != ProductPrecision::tf32 || device == cuda_device;
  backend.set_product_precision(is_there ? precision : ProductPrecision::float32);
}

void check_products_of_slices(const char* name, ProductPrecision precision) {
  for_generated_cases(name, takes_all_cases() ? 300 : 60, [=](CaseRandom& random, const CheckCase& check) {
    const int64_t m = random.size(130), n = random.size(130),
                  k = random.integer(0, 20) == 0 ? 0 : random.size(260);
    const bool transpose_a = random.coin(), transpose_b = random.coin(), accumulate = random.coin(),
               with_bias = random.coin();
    const int64_t offset = random.integer(0, 3), rest = random.integer(0, 3);
    const auto wide = [&](int64_t rows, int64_t columns) {  // in bfloat16 each may be either
      const DType dtype = precision == ProductPrecision::bf16 ? random.activation_dtype() : DType::float32;
      return random.floats({rows + 1, offset + columns + rest}).to(dtype);
    };
    Tolerance tolerance = of_sums(k);
    if (precision == ProductPrecision::tf32) tolerance.float32 = 1e-6;  // 11 bits of significand
    const int64_t a_columns = transpose_a ? m : k, b_columns = transpose_b ? k : n;
    check(
        {wide(transpose_a ? k : m, a_columns), wide(transpose_b ? n : k, b_columns), wide(m, n),
         random.floats({1, offset + n})},
        [=](Inputs in) {
          const auto part = [offset](const Tensor& tensor, int64_t columns) {
            return MatrixRef(without_first_row(tensor)).columns(offset, offset + columns);
          };
          const Tensor output = in[2].clone();
          use_products_in(precision, in[0].backend(), in[0].device());
          in[0].backend().matmul({.a = part(in[0], a_columns),
                                  .transpose_a = transpose_a,
                                  .b = part(in[1], b_columns),
                                  .transpose_b = transpose_b,
                                  .c = part(output, n),
                                  .accumulate = accumulate,
                                  .bias = with_bias
                                              ? std::optional(MatrixRef(in[3]).columns(offset, offset + n))
                                              : std::nullopt});
          in[0].backend().set_product_precision(ProductPrecision::float32);
          const Tensor product = Tensor::empty({m, n}, output.dtype(), output.device());
          output.backend().copy_matrix(part(output, n), product);
          return std::vector<Tensor>{product, output};
        },
        within(tolerance));
  });
}
}  // namespace

BOOST_AUTO_TEST_CASE(products_of_slices) {
  check_products_of_slices("matmul", ProductPrecision::float32);
}

BOOST_AUTO_TEST_CASE(products_of_slices_rounded_to_bfloat16) {
  check_products_of_slices("matmul in bfloat16", ProductPrecision::bf16);
}

BOOST_AUTO_TEST_CASE(products_of_slices_in_tf32) {
  if (tf32_at_hand()) check_products_of_slices("matmul in TF32", ProductPrecision::tf32);
}

BOOST_AUTO_TEST_CASE(products_in_tf32_are_not_those_in_float32) {
  if (!tf32_at_hand()) return;
  CaseRandom random(1);
  const Tensor a = random.floats({128, 64}).to(cuda_device), b = random.floats({64, 96}).to(cuda_device);
  const auto product_in = [&](ProductPrecision precision) {
    const Tensor c = Tensor::empty({128, 96}, DType::float32, cuda_device);
    a.backend().set_product_precision(precision);
    a.backend().matmul({.a = a, .b = b, .c = c});
    a.backend().set_product_precision(ProductPrecision::float32);
    return floats_of(c);
  };
  BOOST_CHECK(product_in(ProductPrecision::tf32) != product_in(ProductPrecision::float32));
}

/// Activations are multiplied as they are, at any precision.
BOOST_AUTO_TEST_CASE(products_of_activations_in_bfloat16) {
  for_generated_cases(
      "matmul of bfloat16", takes_all_cases() ? 100 : 20, [](CaseRandom& random, const CheckCase& check) {
        const int64_t m = random.size(70), n = random.size(70), k = random.size(150);
        const DType dtype = random.activation_dtype();
        check(
            {random.floats({m, k}).to(DType::bfloat16), random.floats({n, k})},
            [=](Inputs in) {
              const Tensor output = Tensor::empty({m, n}, dtype, in[0].device());
              in[0].backend().matmul({.a = in[0], .b = in[1], .transpose_b = true, .c = output});
              return std::vector<Tensor>{output};
            },
            within(of_sums(k)));
      });
}

BOOST_AUTO_TEST_CASE(batches) {
  for_generated_cases(
      "batched_matmul", takes_all_cases() ? 100 : 30, [](CaseRandom& random, const CheckCase& check) {
        const int64_t batch = random.integer(0, 5), m = random.size(40), n = random.size(40),
                      k = random.size(40);
        const bool transpose_a = random.coin(), transpose_b = random.coin();
        check(
            {random.floats(transpose_a ? Shape{batch, k, m} : Shape{batch, m, k}),
             random.floats(transpose_b ? Shape{batch, n, k} : Shape{batch, k, n})},
            [=](Inputs in) {
              const Tensor output = Tensor::empty({batch, m, n}, DType::float32, in[0].device());
              in[0].backend().batched_matmul({.a = in[0],
                                              .transpose_a = transpose_a,
                                              .b = in[1],
                                              .transpose_b = transpose_b,
                                              .c = output});
              return std::vector<Tensor>{output};
            },
            within(of_sums(k)));
      });
}

BOOST_AUTO_TEST_SUITE_END()
