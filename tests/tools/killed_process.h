#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace normtune::test {

/// Starts the program in a process group of its own, without output.
inline pid_t start_program(const std::vector<std::string>& arguments) {
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

/// Kills the process and its group. True if it was still running.
inline bool kill_after(pid_t process, std::chrono::milliseconds delay) {
  std::this_thread::sleep_for(delay);
  kill(process, SIGKILL);
  kill(-process, SIGKILL);
  int status = 0;
  waitpid(process, &status, 0);
  return WIFSIGNALED(status);
}

}  // namespace normtune::test
