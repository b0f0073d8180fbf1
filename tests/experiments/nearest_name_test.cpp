#include "experiments/nearest_name.h"

#include <boost/test/unit_test.hpp>

using namespace normtune;

BOOST_AUTO_TEST_SUITE(nearest_name)

BOOST_AUTO_TEST_CASE(edit_distances) {
  BOOST_TEST(edit_distance("", "") == 0);
  BOOST_TEST(edit_distance("", "abc") == 3);
  BOOST_TEST(edit_distance("abc", "") == 3);
  BOOST_TEST(edit_distance("kitten", "sitting") == 3);
  BOOST_TEST(edit_distance("flaw", "lawn") == 2);
  BOOST_TEST(edit_distance("same", "same") == 0);
}

BOOST_AUTO_TEST_CASE(spelling_does_not_count) {
  BOOST_TEST(plain_name("STS-B") == "stsb");
  BOOST_TEST(normtune::nearest_name("SST-2", {"cola", "stsb", "sst2"}) == "sst2");
  BOOST_TEST(normtune::nearest_name("layer_norm", {"full", "layernorm", "lora"}) == "layernorm");
  BOOST_TEST(normtune::nearest_name("x", {"a", "b"}) == "a");
}

BOOST_AUTO_TEST_SUITE_END()
