#include "tensor/tensor.h"

#include <boost/test/unit_test.hpp>

#include "tensor/backend.h"
#include "tensor/copies_on_host.h"

using namespace normtune;

BOOST_AUTO_TEST_SUITE(tensor)

namespace {

Tensor counting(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::from_values(shape, values);
}

}  // namespace

BOOST_AUTO_TEST_CASE(factories_fill_every_element) {
  BOOST_TEST(Tensor::zeros({2, 3}, DType::float32).to_vector<float>() == std::vector<float>(6, 0.f));
  BOOST_TEST(Tensor::full({3}, 2.5, DType::float64).to_vector<double>() == std::vector<double>(3, 2.5));
  BOOST_TEST(Tensor::full({3}, -7, DType::int32).to_vector<int32_t>() == std::vector<int32_t>(3, -7));
  BOOST_TEST(Tensor::full({3}, 1e15, DType::int64).to_vector<int64_t>() ==
             std::vector<int64_t>(3, 1'000'000'000'000'000));
  // Also where the memory was used before.
  Tensor::full({1000}, 3, DType::float32);
  BOOST_TEST(Tensor::zeros({1000}, DType::float32).to_vector<float>() == std::vector<float>(1000, 0.f));
}

BOOST_AUTO_TEST_CASE(describes_itself) {
  const Tensor x = counting({2, 3, 4});
  BOOST_TEST(x.defined());
  BOOST_TEST(x.numel() == 24);
  BOOST_TEST(x.nbytes() == 96u);
  BOOST_TEST(x.size(1) == 3);
  BOOST_TEST(x.size(-1) == 4);
  BOOST_CHECK(x.dtype() == DType::float32);
  BOOST_CHECK(x.device() == Device{});
  BOOST_TEST(x.backend().name() == "cpu");
  BOOST_TEST(!Tensor().defined());
}

BOOST_AUTO_TEST_CASE(memory_is_aligned_to_a_cache_line) {
  for (int64_t size = 1; size < 50; ++size) {
    BOOST_TEST(reinterpret_cast<uintptr_t>(Tensor::empty({size}, DType::float32).raw_data()) % 64 == 0u);
  }
}

BOOST_AUTO_TEST_CASE(reshape_and_slice_share_the_storage) {
  const Tensor x = counting({4, 6});
  const Tensor rows = x.slice(1, 3);
  BOOST_CHECK((rows.shape() == Shape{2, 6}));
  BOOST_TEST(rows.storage_offset() == 6);
  BOOST_TEST(rows.to_vector<float>().front() == 6);
  const Tensor matrix = rows.reshape({3, 4}).slice(2, 3);
  BOOST_TEST(matrix.to_vector<float>() == (std::vector<float>{14, 15, 16, 17}));
  matrix.data<float>()[0] = -1;
  BOOST_TEST(x.to_vector<float>()[14] == -1);
  BOOST_TEST(!x.is_unique());
  BOOST_TEST(x.slice(2, 2).numel() == 0);
}

BOOST_AUTO_TEST_CASE(adjacent_slices_are_stacked_without_a_copy) {
  const Tensor all = Tensor::zeros({6, 2}, DType::float32);
  const Tensor stacked = Tensor::stacked({all.slice(1, 3), all.slice(3, 3), all.slice(3, 4)});
  BOOST_CHECK(stacked.shape() == (Shape{3, 2}));
  BOOST_TEST(stacked.raw_data() == all.slice(1, 2).raw_data());
  BOOST_CHECK(stacked.storage() == all.storage());
  BOOST_TEST(!Tensor::stacked({all.slice(1, 3), all.slice(4, 5)}).defined());  // a gap
  BOOST_TEST(!Tensor::stacked({all.slice(3, 4), all.slice(1, 3)}).defined());  // the wrong order
  BOOST_TEST(!Tensor::stacked({all, all.clone()}).defined());
  BOOST_CHECK_THROW(Tensor::stacked({all, Tensor::zeros({6, 3}, DType::float32)}), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(clone_has_a_storage_of_its_own) {
  const Tensor x = counting({4});
  const Tensor copy = x.slice(1, 3).clone();
  BOOST_TEST(copy.is_unique());
  copy.data<float>()[0] = 9;
  BOOST_TEST(x.to_vector<float>()[1] == 1);
  BOOST_TEST(copy.to_vector<float>() == (std::vector<float>{9, 2}));
}

BOOST_AUTO_TEST_CASE(converts_between_floating_dtypes) {
  const Tensor x = Tensor::from_values<double>({3}, std::vector<double>{0.1, 1e-50, 1e300});
  const std::vector<float> values = x.to(DType::float32).to_vector<float>();
  BOOST_TEST(values[0] == 0.1f);
  BOOST_TEST(values[1] == 0);
  BOOST_TEST(std::isinf(values[2]));
  BOOST_TEST(x.to(DType::float64).storage() == x.storage());
  BOOST_CHECK_THROW(x.to(DType::int32), std::invalid_argument);
  BOOST_CHECK_THROW(Tensor::zeros({1}, DType::int32).to(DType::float32), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(fill_and_copy_from_stay_inside_a_slice) {
  const Tensor x = counting({6});
  Tensor middle = x.slice(2, 4);
  middle.fill(-1);
  BOOST_TEST(x.to_vector<float>() == (std::vector<float>{0, 1, -1, -1, 4, 5}));
  middle.copy_from(x.slice(4, 6));
  BOOST_TEST(x.to_vector<float>() == (std::vector<float>{0, 1, 4, 5, 4, 5}));
  BOOST_CHECK_THROW(middle.copy_from(x), std::invalid_argument);
  BOOST_CHECK_THROW(middle.copy_from(Tensor::zeros({2}, DType::float64)), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(copies_on_host_are_those_of_each_tensor) {
  const Tensor odd = Tensor::full({3}, 2, DType::bfloat16), none = Tensor::zeros({0}, DType::int64),
               scalar = Tensor::full({}, 1.5, DType::float64);
  Tensor part = counting({2, 3}).slice(1, 2);
  const CopiesOnHost late({odd, none, scalar, part});
  part.fill(-1);
  const std::vector<Tensor> copies = late.wait();
  BOOST_REQUIRE(copies.size() == 4);
  BOOST_TEST(copies[0].to(DType::float32).to_vector<float>() == (std::vector<float>{2, 2, 2}));
  BOOST_CHECK(copies[1].shape() == Shape{0} && copies[1].dtype() == DType::int64);
  BOOST_TEST(copies[2].item() == 1.5);
  BOOST_CHECK((copies[3].shape() == Shape{1, 3}));
  BOOST_TEST(copies[3].to_vector<float>() == (std::vector<float>{3, 4, 5}));
  BOOST_TEST(copies[3].storage() != part.storage());
  BOOST_TEST(CopiesOnHost({}).wait().empty());
}

BOOST_AUTO_TEST_CASE(item_needs_one_element) {
  BOOST_TEST(Tensor::full({}, 1.5, DType::float64).item() == 1.5);
  BOOST_TEST(Tensor::full({1, 1}, 2, DType::int64).item() == 2);
  BOOST_CHECK_THROW(counting({2}).item(), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(mistakes_are_refused) {
  const Tensor x = counting({2, 3});
  BOOST_CHECK_THROW(x.reshape({7}), std::invalid_argument);
  BOOST_CHECK_THROW(x.slice(1, 3), std::invalid_argument);
  BOOST_CHECK_THROW(x.slice(2, 1), std::invalid_argument);
  BOOST_CHECK_THROW(x.data<double>(), std::invalid_argument);
  BOOST_CHECK_THROW(x.to_vector<int32_t>(), std::invalid_argument);
  BOOST_CHECK_THROW(Tensor::from_values<float>({3}, std::vector<float>{1, 2}), std::invalid_argument);
  BOOST_CHECK_THROW(Shape({1, 1, 1, 1, 1, 1, 1}), std::invalid_argument);
  BOOST_CHECK_THROW((Shape{-1}), std::invalid_argument);
  const Tensor undefined;
  BOOST_CHECK_THROW(undefined.data<float>(), std::invalid_argument);
  BOOST_CHECK_THROW(undefined.device(), std::invalid_argument);
  BOOST_CHECK_THROW(undefined.item(), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(matrix_refs_address_parts_of_a_tensor) {
  const Tensor x = counting({2, 2, 6});
  const MatrixRef matrix(x);
  BOOST_TEST(matrix.rows == 4);
  BOOST_TEST(matrix.cols == 6);
  const MatrixRef part = matrix.row_range(1, 3).columns(2, 5);
  BOOST_TEST(part.rows == 2);
  BOOST_TEST(part.cols == 3);
  BOOST_TEST(part.ld == 6);
  BOOST_TEST(part.as<float>()[part.ld] == 14);
  BOOST_CHECK_THROW(part.as<double>(), std::invalid_argument);
  BOOST_CHECK_THROW(matrix.columns(2, 7), std::invalid_argument);
  BOOST_CHECK_THROW(matrix.row_range(3, 5), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(a_device_that_is_not_there_is_a_usage_error) {
  BOOST_CHECK_EXCEPTION(backend_of({.type = DeviceType::cuda, .index = 1}), Error, [](const Error& error) {
    return error.kind() == ErrorKind::usage && std::string(error.what()).find("cuda:1") != std::string::npos;
  });
}

BOOST_AUTO_TEST_SUITE_END()
