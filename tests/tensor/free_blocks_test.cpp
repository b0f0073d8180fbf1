#include "tensor/free_blocks.h"

#include <array>
#include <boost/test/unit_test.hpp>

using namespace normtune;

BOOST_AUTO_TEST_SUITE(free_blocks)

BOOST_AUTO_TEST_CASE(the_smallest_that_fits_is_taken) {
  std::array<std::byte, 100> memory{};
  FreeBlocks free;
  BOOST_TEST(free.take(1) == nullptr);
  free.put(&memory[0], 40);
  free.put(&memory[50], 20);
  free.put(&memory[80], 10);
  BOOST_TEST(free.take(15) == &memory[50]);
  BOOST_TEST(free.take(5) == &memory[65]);  // what was left of it
  BOOST_TEST(free.take(11) == &memory[0]);
  BOOST_TEST(free.take(30) == nullptr);
  BOOST_TEST(free.take(29) == &memory[11]);
}

BOOST_AUTO_TEST_CASE(neighbours_are_joined) {
  std::array<std::byte, 100> memory{};
  FreeBlocks free;
  free.put(&memory[0], 10);
  free.put(&memory[20], 10);
  free.put(&memory[40], 10);
  free.put(&memory[10], 10);  // between two
  BOOST_TEST(free.take(31) == nullptr);
  free.put(&memory[30], 10);
  BOOST_TEST(free.take(50) == &memory[0]);
  BOOST_TEST(free.take(1) == nullptr);
}

BOOST_AUTO_TEST_CASE(free_bytes_at_the_end) {
  std::array<std::byte, 100> memory{};
  std::byte* end = memory.data() + memory.size();
  FreeBlocks free;
  BOOST_TEST(free.bytes_at_end(end) == 0u);
  free.put(&memory[10], 20);
  BOOST_TEST(free.bytes_at_end(end) == 0u);
  free.put(&memory[70], 30);
  BOOST_TEST(free.bytes_at_end(end) == 30u);
  BOOST_TEST(free.take(25) == &memory[70]);
  BOOST_TEST(free.bytes_at_end(end) == 5u);
}

BOOST_AUTO_TEST_SUITE_END()
