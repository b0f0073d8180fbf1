#include "tensor/captured_memory.h"

#include <boost/test/unit_test.hpp>
#include <memory>
#include <vector>

using namespace normtune;

/// Where the tensors of captured work lie.
BOOST_AUTO_TEST_SUITE(captured_memory)

namespace {

/// Serves chunks of host memory.
struct Chunks {
  std::vector<std::unique_ptr<std::byte[]>> chunks;
  std::vector<size_t> sizes;

  std::byte* operator()(size_t bytes) {
    sizes.push_back(bytes);
    chunks.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
    return chunks.back().get();
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_capture_repeats_the_addresses_of_the_last_one) {
  Chunks chunks;
  CapturedMemory memory(std::ref(chunks));
  std::vector<void*> first;
  for (int capture = 0; capture < 2; ++capture) {
    memory.begin_capture();
    void *a = memory.allocate(1000), *b = memory.allocate(1);
    memory.deallocate(a, 1000);
    void *c = memory.allocate(900), *d = memory.allocate(300);
    memory.end_capture();
    BOOST_TEST(c == a);  // given back, and large enough
    BOOST_TEST(static_cast<std::byte*>(b) - static_cast<std::byte*>(a) ==
               1024);  // whole multiples of 256 bytes
    if (capture == 0) {
      first = {a, b, c, d};
    } else {
      BOOST_TEST((std::vector{a, b, c, d} == first));
    }
  }
  BOOST_TEST(chunks.sizes.size() == 1u);
}

BOOST_AUTO_TEST_CASE(blocks_of_an_earlier_capture_are_free_already) {
  Chunks chunks;
  CapturedMemory memory(std::ref(chunks));
  memory.begin_capture();
  void* kept = memory.allocate(500);
  memory.end_capture();
  memory.deallocate(kept, 500);
  memory.begin_capture();
  void *a = memory.allocate(500), *b = memory.allocate(500);
  BOOST_TEST(a == kept);
  BOOST_TEST(b != a);
  memory.end_capture();
}

BOOST_AUTO_TEST_CASE(it_grows_by_chunks_that_stay) {
  constexpr size_t mebibyte = size_t{1} << 20;
  Chunks chunks;
  CapturedMemory memory(std::ref(chunks));
  memory.begin_capture();
  void *small = memory.allocate(mebibyte), *large = memory.allocate(100 * mebibyte);
  memory.end_capture();
  BOOST_TEST(chunks.sizes == (std::vector<size_t>{32 * mebibyte, 100 * mebibyte}));
  int local = 0;
  BOOST_TEST(memory.owns(small));
  BOOST_TEST(memory.owns(static_cast<std::byte*>(large) + 100 * mebibyte - 1));
  BOOST_TEST(!memory.owns(&local));
  memory.begin_capture();
  BOOST_TEST(memory.allocate(32 * mebibyte) == small);
  BOOST_TEST(memory.allocate(100 * mebibyte) == large);
  memory.end_capture();
  BOOST_TEST(chunks.sizes.size() == 2u);
}

BOOST_AUTO_TEST_SUITE_END()
