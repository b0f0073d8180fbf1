#include "tensor/philox.h"

#include <boost/test/unit_test.hpp>
#include <set>

using namespace normtune;

BOOST_AUTO_TEST_SUITE(philox)

/// The known answers that come with Random123 (kat_vectors, philox4x32 10).
BOOST_AUTO_TEST_CASE(known_answers) {
  using Words = std::array<uint32_t, 4>;
  BOOST_TEST(philox4x32({0, 0, 0, 0}, {0, 0}) == (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}),
             boost::test_tools::per_element());
  constexpr uint32_t ones = 0xffffffff;
  BOOST_TEST(philox4x32({ones, ones, ones, ones}, {ones, ones}) ==
                 (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}),
             boost::test_tools::per_element());
  BOOST_TEST(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
                 (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}),
             boost::test_tools::per_element());
}

/// SplitMix64 with seed 1234567 gives these numbers (the state moves by the same constant that mix64 adds).
BOOST_AUTO_TEST_CASE(mix64_is_splitmix64) {
  constexpr uint64_t gamma = 0x9E3779B97F4A7C15;
  BOOST_TEST(mix64(1234567) == 6457827717110365317u);
  BOOST_TEST(mix64(1234567 + gamma) == 3203168211198807973u);
}

BOOST_AUTO_TEST_CASE(keys_differ_in_seed_step_and_site) {
  std::set<uint64_t> keys;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    for (int64_t step = 0; step < 20; ++step) {
      for (int32_t site = 0; site < 20; ++site) {
        const PhiloxKey key = dropout_key(seed, step, site);
        keys.insert(uint64_t{key.high} << 32 | key.low);
      }
    }
  }
  BOOST_TEST(keys.size() == 5u * 20 * 20);
}

BOOST_AUTO_TEST_CASE(threshold_is_the_probability_of_a_smaller_word) {
  BOOST_TEST(dropout_threshold(0) == 0u);
  BOOST_TEST(dropout_threshold(0.5) == 0x80000000u);
  BOOST_TEST(dropout_threshold(0.25) == 0x40000000u);
}

BOOST_AUTO_TEST_SUITE_END()
