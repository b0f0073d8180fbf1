#include "tests/cuda/device_testing.h"
#include "tests/cuda/emulated_backend.h"
#include "tests/cuda/emulator.h"
//
#include "tests/cuda/fragment_products.cuh"
#include "tests/cuda/fragment_products.h"

using namespace normtune;
using namespace normtune::test;

/// Products of fragments against plain ones. Factors are small integers: every product is exact, and one
/// element in a wrong place changes it.
BOOST_AUTO_TEST_SUITE(tensor_cores)

namespace {

constexpr int warps = 3, size = 16 * 16;

std::vector<float> small_integers(CaseRandom& random) {
  std::vector<float> values(warps * size);
  for (float& value : values) value = static_cast<float>(random.integer(-3, 3));
  return values;
}

/// The product of two [16, 16].
std::vector<float> multiply(const float* a, const float* b, bool transpose_b) {
  std::vector<float> product(size);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      for (int k = 0; k < 16; ++k)
        product[i * 16 + j] += a[i * 16 + k] * (transpose_b ? b[j * 16 + k] : b[k * 16 + j]);
    }
  }
  return product;
}

std::vector<float> expected_products(const std::vector<float>& x, const std::vector<float>& y) {
  std::vector<float> products;
  const auto append = [&](const std::vector<float>& more) {
    products.insert(products.end(), more.begin(), more.end());
  };
  for (int warp = 0; warp < warps; ++warp) {
    const float *x_of_warp = x.data() + warp * size, *y_of_warp = y.data() + warp * size;
    const std::vector<float> product = multiply(x_of_warp, y_of_warp, false);
    append(product);
    append(multiply(x_of_warp, y_of_warp, true));
    append(multiply(product.data(), y_of_warp, false));
  }
  return products;
}

std::vector<float> found_products(const std::vector<float>& x, const std::vector<float>& y) {
  const auto rounded = [](const std::vector<float>& values) {  // exact for small integers
    return Tensor::from_values({warps, 16, 16}, values).to(DType::bfloat16);
  };
  const Tensor first = rounded(x), second = rounded(y);
#if defined(NORMTUNE_WITH_CUDA)
  if (!is_emulated()) {
    return fragment_products_on_device(first.to(cuda_device), second.to(cuda_device)).to_vector<float>();
  }
#endif
  std::vector<float> products(3 * warps * size);
  emulator::Launcher{}(cuda::fragment_products_kernel, cuda::fragment_products_grid(warps),
                       first.data<bfloat16>(), second.data<bfloat16>(), products.data());
  return products;
}

}  // namespace

BOOST_AUTO_TEST_CASE(products_of_fragments) {
  if (!device_at_hand()) return;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    CaseRandom random(seed);
    const std::vector<float> x = small_integers(random), y = small_integers(random);
    emulator::set_order(seed);
    BOOST_TEST(found_products(x, y) == expected_products(x, y), boost::test_tools::per_element());
  }
  emulator::set_order(0);
}

BOOST_AUTO_TEST_SUITE_END()
