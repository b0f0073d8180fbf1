#include "tensor/cpu/arena.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "tensor/error.h"

using namespace normtune;

BOOST_AUTO_TEST_SUITE(arena)

namespace {

constexpr size_t mebibyte = size_t{1} << 20;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool separate_blocks = true;  // the sanitizer's own allocator serves the blocks
#else
constexpr bool separate_blocks = false;
#endif

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    BOOST_CHECK(error.kind() == ErrorKind::out_of_memory);
    return error.what();
  }
  return "no error";
}

}  // namespace

BOOST_AUTO_TEST_CASE(blocks_are_aligned_and_do_not_overlap) {
  Arena arena;
  std::mt19937 random(1);
  std::vector<std::pair<unsigned char*, size_t>> blocks;
  for (int i = 0; i < 300; ++i) {
    const size_t bytes = random() % 5000;
    auto* block = static_cast<unsigned char*>(arena.allocate(bytes));
    BOOST_TEST(reinterpret_cast<uintptr_t>(block) % 64 == 0u);
    std::memset(block, i % 251, bytes);
    blocks.emplace_back(block, bytes);
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto [block, bytes] = blocks[i];
    BOOST_TEST(std::all_of(block, block + bytes, [&](unsigned char value) { return value == i % 251; }));
    arena.deallocate(block, bytes);
  }
  BOOST_TEST(arena.stats().in_use == 0u);
}

BOOST_AUTO_TEST_CASE(a_repeated_step_asks_the_system_for_nothing) {
  Arena arena;
  const auto step = [&arena] {
    std::mt19937 random(2);
    std::vector<std::pair<void*, size_t>> blocks;
    for (int i = 0; i < 500; ++i) {
      const size_t bytes = random() % 200'000;
      blocks.emplace_back(arena.allocate(bytes), bytes);
      if (i % 3 == 0) {
        const size_t victim = random() % blocks.size();
        arena.deallocate(blocks[victim].first, blocks[victim].second);
        blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(victim));
      }
    }
    for (const auto& [block, bytes] : blocks) arena.deallocate(block, bytes);
  };
  step();
  const AllocatorStats first = arena.stats();
  for (int i = 0; i < 5; ++i) step();
  BOOST_TEST(arena.stats().system_allocations == first.system_allocations);
  BOOST_TEST(arena.stats().reserved == first.reserved);
  BOOST_TEST(arena.stats().peak_in_use == first.peak_in_use);
}

BOOST_AUTO_TEST_CASE(neighbours_are_joined_and_the_best_fit_is_taken) {
  if (separate_blocks) return;
  Arena arena;
  auto* a = static_cast<std::byte*>(arena.allocate(4096));
  auto* b = static_cast<std::byte*>(arena.allocate(4096));
  auto* c = static_cast<std::byte*>(arena.allocate(4096));
  void* guard = arena.allocate(64);
  arena.deallocate(a, 4096);
  arena.deallocate(c, 4096);
  BOOST_TEST(arena.allocate(4000) == a);  // 4,096 bytes are free at a and at c, more at the end
  arena.deallocate(a, 4000);
  arena.deallocate(b, 4096);
  BOOST_TEST(arena.allocate(3 * 4096) == a);
  arena.deallocate(a, 3 * 4096);
  arena.deallocate(guard, 64);
  BOOST_TEST(arena.allocate(20 * mebibyte) == a);
  arena.deallocate(a, 20 * mebibyte);
}

BOOST_AUTO_TEST_CASE(counts_what_is_held) {
  Arena arena;
  void* a = arena.allocate(100);
  BOOST_TEST(arena.stats().in_use == 128u);  // whole cache lines
  void* b = arena.allocate(0);
  BOOST_TEST(b != nullptr);
  BOOST_TEST(b != a);
  arena.deallocate(a, 100);
  BOOST_TEST(arena.stats().in_use == 64u);
  BOOST_TEST(arena.stats().peak_in_use == 192u);
  arena.reset_peak();
  BOOST_TEST(arena.stats().peak_in_use == 64u);
  BOOST_TEST(arena.stats().reserved >= 64u);
  BOOST_TEST(arena.stats().peak_reserved == arena.stats().reserved);
  arena.deallocate(b, 0);
}

BOOST_AUTO_TEST_CASE(memory_called_zero_is_zero) {
  Arena arena;
  std::mt19937 random(3);
  std::vector<std::pair<void*, size_t>> kept;
  for (int i = 0; i < 200; ++i) {
    const size_t bytes = 1 + random() % 100'000;
    bool is_zero = false;
    auto* block = static_cast<unsigned char*>(arena.allocate(bytes, is_zero));
    if (is_zero) {
      BOOST_TEST(std::all_of(block, block + bytes, [](unsigned char value) { return value == 0; }));
    }
    std::memset(block, 1, bytes);
    if (i % 2 == 0) {
      arena.deallocate(block, bytes);
    } else {
      kept.emplace_back(block, bytes);
    }
  }
  for (const auto& [block, bytes] : kept) arena.deallocate(block, bytes);
}

BOOST_AUTO_TEST_CASE(out_of_memory_names_asked_free_and_held) {
  Arena arena(10 * mebibyte);
  void* held = arena.allocate(4 * mebibyte);
  const std::string message = message_of([&] { arena.allocate(7 * mebibyte); });
  for (const char* part : {"out of memory", "asked for 7340032 bytes", "6291456 of 10485760 bytes are free",
                           "tensors hold 4194304"}) {
    BOOST_TEST(message.find(part) != std::string::npos, message);
  }
  BOOST_TEST(message.find('\n') == std::string::npos);
  // What fits is still served, and all of it after the rest went.
  void* rest = arena.allocate(6 * mebibyte);
  arena.deallocate(rest, 6 * mebibyte);
  arena.deallocate(held, 4 * mebibyte);
  void* all = arena.allocate(10 * mebibyte);
  arena.deallocate(all, 10 * mebibyte);
}

BOOST_AUTO_TEST_CASE(sizes_that_wrap_around_are_out_of_memory) {
  Arena arena;
  for (const size_t bytes : {std::numeric_limits<size_t>::max(), std::numeric_limits<size_t>::max() - 63,
                             std::numeric_limits<size_t>::max() / 2}) {
    BOOST_TEST(message_of([&] { arena.allocate(bytes); }).find("out of memory") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(the_environment_can_set_the_limit) {
  setenv("NORMTUNE_CPU_MEMORY_LIMIT", "123456", 1);
  BOOST_TEST(Arena().limit() == 123456u);
  setenv("NORMTUNE_CPU_MEMORY_LIMIT", "2GB", 1);
  BOOST_CHECK_EXCEPTION(Arena(), Error, [](const Error& error) {
    return error.kind() == ErrorKind::usage && std::string(error.what()).find("\"2GB\"") != std::string::npos;
  });
  unsetenv("NORMTUNE_CPU_MEMORY_LIMIT");
  BOOST_TEST(Arena().limit() > 16 * mebibyte);
}

/// Exit status of a child process in which `ulimit -v` holds 512 MiB more than now.
static int status_with_limited_addresses(const std::function<bool()>& succeeds) {
  const pid_t child = fork();
  if (child == 0) {
    size_t pages = 0;
    FILE* statm = std::fopen("/proc/self/statm", "r");
    if (statm == nullptr || std::fscanf(statm, "%zu", &pages) != 1) _exit(2);
    const rlim_t limit = pages * static_cast<size_t>(sysconf(_SC_PAGESIZE)) + 512 * mebibyte;
    const rlimit addresses{limit, limit};
    setrlimit(RLIMIT_AS, &addresses);
    _exit(succeeds() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

BOOST_AUTO_TEST_CASE(works_where_addresses_are_limited) {
  if (separate_blocks) return;  // the sanitizer's own needs exceed any limit
  const int status = status_with_limited_addresses([] {
    Arena arena;
    void* block = arena.allocate(100 * mebibyte);
    std::memset(block, 1, 100 * mebibyte);
    arena.deallocate(block, 100 * mebibyte);
    try {
      arena.allocate(600 * mebibyte);
    } catch (const Error& error) {
      return error.kind() == ErrorKind::out_of_memory;
    }
    return false;
  });
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(threads_share_an_arena) {
  Arena arena;
  std::vector<std::thread> threads;
  std::vector<int> mistakes(4, 0);
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&arena, &mistakes, t] {
      for (size_t i = 0; i < 2000; ++i) {
        const size_t bytes = 64 + (i * 37 + t) % 1000;
        auto* block = static_cast<unsigned char*>(arena.allocate(bytes));
        std::memset(block, static_cast<int>(t), bytes);
        if (!std::all_of(block, block + bytes, [t](unsigned char value) { return value == t; }))
          ++mistakes[t];
        arena.deallocate(block, bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  BOOST_TEST(mistakes == std::vector<int>(4, 0));
  BOOST_TEST(arena.stats().in_use == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
