#include "cuda/staging_ring.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "tests/cuda/device_testing.h"

using namespace normtune;
using namespace normtune::test;

/// Copies to the device that outlive their source.
BOOST_AUTO_TEST_SUITE(staging_ring)

namespace {

/// A device as slow as it can be: it copies only when somebody waits for it, and then no more than it must.
struct SlowDevice {
  struct Copy {
    size_t block, bytes;
    void* destination;
  };
  static constexpr size_t num_blocks = 3, block_bytes = 8;

  std::byte memory[num_blocks * block_bytes];
  std::deque<Copy> enqueued;
  int num_waits = 0;

  void copy_next() {
    const Copy& next = enqueued.front();
    std::memcpy(next.destination, memory + next.block * block_bytes, next.bytes);
    enqueued.pop_front();
  }
  void synchronize() {
    while (!enqueued.empty()) copy_next();
  }
};

struct SlowBlocks {
  SlowDevice* device;

  size_t size() const { return SlowDevice::num_blocks; }
  size_t block_bytes() const { return SlowDevice::block_bytes; }
  void send(size_t block, void* destination, const std::byte* source, size_t bytes) {
    std::memcpy(device->memory + block * block_bytes(), source, bytes);
    device->enqueued.push_back({block, bytes, destination});
  }
  void wait(size_t block) {
    ++device->num_waits;
    const auto is_enqueued = [&] {
      return std::any_of(device->enqueued.begin(), device->enqueued.end(),
                         [&](const SlowDevice::Copy& copy) { return copy.block == block; });
    };
    while (is_enqueued()) device->copy_next();
  }
};

using SlowRing = cuda::StagingRing<SlowBlocks>;

std::vector<std::byte> random_bytes(CaseRandom& random, int64_t count) {
  std::vector<std::byte> bytes(static_cast<size_t>(count));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.integer(0, 255));
  return bytes;
}

/// Sends a copy of the bytes that is gone as soon as they are sent.
void send(SlowRing& ring, std::vector<std::byte>& destination, std::vector<std::byte> bytes) {
  ring.copy(destination.data(), bytes.data(), bytes.size());
  std::fill(bytes.begin(), bytes.end(), std::byte{0xEE});
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_byte_arrives_from_sources_that_are_gone) {
  CaseRandom random(5);
  SlowDevice device;
  SlowRing ring(SlowBlocks{&device});
  std::deque<std::vector<std::byte>> expected, found;  // which do not move as they grow
  for (int i = 0; i < 2000; ++i) {
    const auto size = random.integer(0, 4 * SlowDevice::block_bytes);
    expected.push_back(random_bytes(random, size));
    found.emplace_back(static_cast<size_t>(size));
    send(ring, found.back(), expected.back());
    if (random.integer(0, 4) == 0) {
      const uint64_t num_sent = ring.num_sent();
      device.synchronize();
      ring.note_done(num_sent);
    }
  }
  device.synchronize();
  BOOST_CHECK(found == expected);
}

BOOST_AUTO_TEST_CASE(waits_only_when_all_blocks_are_under_way) {
  SlowDevice device;
  SlowRing ring(SlowBlocks{&device});
  std::vector<std::byte> place(4);
  const std::vector<std::byte> bytes(4);
  for (int i = 0; i < 3; ++i) send(ring, place, bytes);
  BOOST_TEST(device.num_waits == 0);
  send(ring, place, bytes);  // for the first block
  BOOST_TEST(device.num_waits == 1);
  BOOST_TEST(device.enqueued.size() == 3u);

  const uint64_t num_sent = ring.num_sent();
  device.synchronize();
  ring.note_done(num_sent);
  for (int i = 0; i < 3; ++i) send(ring, place, bytes);
  BOOST_TEST(device.num_waits == 1);
  send(ring, place, bytes);
  BOOST_TEST(device.num_waits == 2);
}

/// Of two threads one may wait for the device while the other sends: what was sent meanwhile is not done.
BOOST_AUTO_TEST_CASE(what_is_sent_during_a_wait_is_not_taken_for_done) {
  SlowDevice device;
  SlowRing ring(SlowBlocks{&device});
  std::vector<std::byte> place(4);
  const std::vector<std::byte> bytes(4);
  const uint64_t num_sent = ring.num_sent();
  for (int i = 0; i < 3; ++i) send(ring, place, bytes);
  ring.note_done(num_sent);
  send(ring, place, bytes);
  BOOST_TEST(device.num_waits == 1);
}

/// The same on the device, which is kept busy so that copies pile up.
BOOST_AUTO_TEST_CASE(arrays_reach_a_busy_device) {
  if (!device_at_hand()) return;
  CaseRandom random(6);
  const Tensor work = Tensor::full({is_emulated() ? 100 : 20'000'000}, 1, DType::float32, cuda_device);
  std::vector<std::vector<int32_t>> expected;
  std::vector<Tensor> found;
  for (int i = 0; i < 300; ++i) {
    if (i % 10 == 0) work.backend().scale(work, 1, work);
    const int64_t size = random.integer(0, 9) == 0 ? random.integer(0, 400'000) : random.size(20'000);
    std::vector<int32_t> values(static_cast<size_t>(size));
    for (int32_t& value : values) value = static_cast<int32_t>(random.bits());
    expected.push_back(values);
    found.push_back(Tensor::from_values({size}, values, cuda_device));
    std::fill(values.begin(), values.end(), -1);
  }
  for (size_t i = 0; i < found.size(); ++i) BOOST_CHECK(found[i].to_vector<int32_t>() == expected[i]);
}

BOOST_AUTO_TEST_SUITE_END()
