#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <random>
#include <thread>

#include "tests/tools/compare_fixture.h"

using namespace normtune::test;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

/// Starts the program in a process group of its own, without output.
pid_t start(const std::vector<std::string>& arguments) {
  const pid_t process = fork();
  BOOST_REQUIRE(process >= 0);
  if (process > 0) return process;
  setpgid(0, 0);
  std::vector<char*> words = {const_cast<char*>(NORMTUNE_PROGRAM)};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  execv(NORMTUNE_PROGRAM, words.data());
  _exit(127);
}

/// True if the process was still running.
bool kill_after(pid_t process, std::chrono::milliseconds delay) {
  std::this_thread::sleep_for(delay);
  kill(process, SIGKILL);
  kill(-process, SIGKILL);
  int status = 0;
  waitpid(process, &status, 0);
  return WIFSIGNALED(status);
}

}  // namespace

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
    num_hit += kill_after(start(command(options)), delay) ? 1 : 0;
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
