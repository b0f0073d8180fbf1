#include "nn/element_type.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <vector>

using namespace normtune;

namespace {

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span<const T>(values));
  return {bytes.begin(), bytes.end()};
}

Tensor convert(ElementType type, const std::vector<std::byte>& bytes) {
  return tensor_from_bytes(type, {static_cast<int64_t>(bytes.size() / size_of(type))}, bytes);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(element_type)

BOOST_AUTO_TEST_CASE(names_and_sizes) {
  BOOST_CHECK(normtune::element_type("BF16") == ElementType::BF16);
  BOOST_CHECK(!normtune::element_type("F8_E4M3"));
  BOOST_CHECK(!normtune::element_type("f32"));
  BOOST_TEST(to_string(ElementType::I64) == "I64");
  BOOST_TEST(size_of(ElementType::BOOL) == 1u);
  BOOST_TEST(size_of(ElementType::F16) == 2u);
  BOOST_CHECK(dtype_for(ElementType::F64) == DType::float64);
  BOOST_CHECK(!dtype_for(ElementType::U64));
}

BOOST_AUTO_TEST_CASE(byte_counts_that_do_not_fit_are_found) {
  BOOST_TEST(byte_count(std::vector<int64_t>{}, ElementType::F32).value() == 4);
  BOOST_TEST(byte_count(std::vector<int64_t>{3, 0, 5}, ElementType::F32).value() == 0);
  BOOST_CHECK(!byte_count(std::vector<int64_t>{int64_t{1} << 32, int64_t{1} << 31}, ElementType::U8));
  BOOST_CHECK(!byte_count(std::vector<int64_t>{int64_t{1} << 61}, ElementType::F32));
  BOOST_CHECK(!byte_count(std::vector<int64_t>{2, -1}, ElementType::F32));
}

BOOST_AUTO_TEST_CASE(every_half_has_its_value) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  const std::vector<float> values = convert(ElementType::F16, bytes_of(halves)).to_vector<float>();
  for (int bits = 0; bits < 65536; ++bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const double magnitude = exponent == 0   ? std::ldexp(mantissa, -24)
                             : exponent < 31 ? std::ldexp(1024 + mantissa, exponent - 25)
                             : mantissa == 0 ? std::numeric_limits<double>::infinity()
                                             : std::nan("");
    const float value = values[static_cast<size_t>(bits)];
    const bool right = std::isnan(magnitude) ? std::isnan(value) : std::abs(value) == magnitude;
    if (!right || std::signbit(value) != (bits >> 15 == 1))
      BOOST_ERROR("half " << bits << " became " << value);
  }
}

BOOST_AUTO_TEST_CASE(bfloat16_is_the_upper_half_of_a_float) {
  const auto values = convert(ElementType::BF16, bytes_of(std::vector<uint16_t>{0x3f80, 0xc049, 0xff80, 1}))
                          .to_vector<float>();
  BOOST_TEST(values[0] == 1.0F);
  BOOST_TEST(values[1] == -3.140625F);
  BOOST_TEST(values[2] == -std::numeric_limits<float>::infinity());
  BOOST_TEST(values[3] == std::ldexp(1.0F, -133));
}

BOOST_AUTO_TEST_CASE(narrow_integers_become_int32) {
  BOOST_TEST(convert(ElementType::I8, bytes_of(std::vector<int8_t>{-128, 127})).to_vector<int32_t>() ==
             (std::vector<int32_t>{-128, 127}));
  BOOST_TEST(convert(ElementType::U8, bytes_of(std::vector<uint8_t>{0, 255})).to_vector<int32_t>() ==
             (std::vector<int32_t>{0, 255}));
  BOOST_TEST(convert(ElementType::I16, bytes_of(std::vector<int16_t>{-300})).to_vector<int32_t>() ==
             (std::vector<int32_t>{-300}));
  BOOST_TEST(convert(ElementType::U16, bytes_of(std::vector<uint16_t>{65535})).to_vector<int32_t>() ==
             (std::vector<int32_t>{65535}));
}

BOOST_AUTO_TEST_CASE(bytes_may_lie_anywhere) {
  std::vector<std::byte> shifted{std::byte{0}};
  for (const std::byte byte : bytes_of(std::vector<double>{1.5, -2})) shifted.push_back(byte);
  const auto tensor =
      tensor_from_bytes(ElementType::F64, {2}, std::span<const std::byte>(shifted).subspan(1));
  BOOST_TEST(tensor.to_vector<double>() == (std::vector<double>{1.5, -2}));
}

BOOST_AUTO_TEST_CASE(mistakes_of_the_caller_are_refused) {
  BOOST_CHECK_THROW(tensor_from_bytes(ElementType::F32, {2}, std::vector<std::byte>(7)),
                    std::invalid_argument);
  BOOST_CHECK_THROW(tensor_from_bytes(ElementType::U32, {1}, std::vector<std::byte>(4)),
                    std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
