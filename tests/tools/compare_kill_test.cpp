#include <boost/test/unit_test.hpp>
#include <chrono>
#include <random>

#include "tests/tools/compare_fixture.h"
#include "tests/tools/killed_process.h"

using namespace normtune::test;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

BOOST_FIXTURE_TEST_SUITE(compare_kill, CompareFixture)

/// Killed at 20 random moments and started again, a comparison ends with the same bytes.
BOOST_AUTO_TEST_CASE(kills_at_random_moments_change_no_byte) {
  const std::vector<std::string> options = {
      "--max_steps", "60", "--save_strategy", "steps", "--save_steps", "10", "--quiet", "--jobs", "2"};
  const auto begin = Clock::now();
  BOOST_REQUIRE(compare(options, (folder / "whole").string()).exit_code == 0);
  const auto whole_time = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);

  constexpr unsigned seed = 20;
  std::mt19937 random(seed);
  BOOST_TEST_MESSAGE("seed of the moments: " << seed);
  int64_t num_hit = 0;
  for (int i = 0; i < 20; ++i) {
    const std::chrono::milliseconds delay(random() % static_cast<unsigned>(whole_time.count() / 8 + 1));
    num_hit += kill_after(start_program(command(options)), delay) ? 1 : 0;
  }
  BOOST_TEST_MESSAGE(num_hit << " of 20 kills came before the end");
  BOOST_TEST(num_hit >= 5);
  const Outcome last = compare(options);
  BOOST_TEST(last.exit_code == 0, last.err);
  BOOST_TEST(tables(output) == tables((folder / "whole").string()));
  for (const fs::directory_entry& run : fs::directory_iterator(fs::path(output) / "runs")) {
    BOOST_TEST(!fs::exists(run.path() / "model.safetensors"));
    BOOST_TEST(read_text(run.path() / "predictions.jsonl") ==
               read_text(folder / "whole" / "runs" / run.path().filename() / "predictions.jsonl"));
  }
}

BOOST_AUTO_TEST_SUITE_END()
