#include "experiments/child_process.h"

#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <thread>

#include "tests/experiments/fixtures.h"

namespace normtune {

using fixtures::content_of;
using fixtures::TemporaryFolder;

namespace {

ChildProcess::Command shell(const std::string& script) {
  return {.program = "/bin/sh", .arguments = {"-c", script}};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(child_process)

BOOST_AUTO_TEST_CASE(exit_codes_and_signals) {
  BOOST_CHECK_EQUAL(ChildProcess(shell("exit 0")).wait(), 0);
  BOOST_CHECK_EQUAL(ChildProcess(shell("exit 7")).wait(), 7);
  BOOST_CHECK_EQUAL(ChildProcess(shell("kill -9 $$")).wait(), 137);
  BOOST_CHECK_EQUAL(ChildProcess({.program = "/nowhere", .arguments = {}}).wait(), 127);
  ChildProcess sleeper(shell("exec sleep 1000"));
  BOOST_CHECK(!sleeper.exit_code());
  sleeper.send_signal(SIGTERM);
  BOOST_CHECK_EQUAL(sleeper.wait(), 128 + SIGTERM);
  BOOST_CHECK(sleeper.exit_code() == 128 + SIGTERM);
}

BOOST_AUTO_TEST_CASE(output_goes_to_files) {
  const TemporaryFolder folder;
  ChildProcess::Command command = shell("echo result; echo warning >&2; cat");
  command.output = folder / "out";
  command.errors = folder.write("err", "before\n");
  BOOST_CHECK_EQUAL(ChildProcess(command).wait(), 0);
  BOOST_CHECK_EQUAL(content_of(folder / "out"), "result\n");
  BOOST_CHECK_EQUAL(content_of(folder / "err"), "before\nwarning\n");
  command.output = folder / "nowhere/out";
  fixtures::check_error_parts(ErrorKind::write, {"nowhere/out"}, [&] { const ChildProcess child(command); });
}

BOOST_AUTO_TEST_CASE(it_ends_with_its_owner) {
  const TemporaryFolder folder;
  ChildProcess::Command command = shell("echo $$; exec sleep 1000");
  command.output = folder / "out";
  {
    const ChildProcess child(command);
    while (content_of(folder / "out").empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const pid_t process = std::stoi(content_of(folder / "out"));
  BOOST_CHECK(::kill(process, 0) != 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
