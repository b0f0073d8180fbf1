#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace normtune {

/// A program that runs beside this one. It is in a process group of its own, so that Ctrl-C reaches this
/// process alone, which passes it on; it reads nothing; and it does not survive this process, however that
/// ends.
class ChildProcess {
 public:
  struct Command {
    std::string program;
    std::vector<std::string> arguments;
    std::filesystem::path output;  ///< standard output goes to this file; empty: nowhere
    std::filesystem::path errors;  ///< standard error is appended to this one; empty: nowhere
  };

  /// Starts it. Throws Error(internal) if the system has no process to give, Error(write) if a file of the
  /// command cannot be written.
  explicit ChildProcess(const Command& command);
  /// Kills it if it still runs, and waits.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// How it ended: its exit code, or 128 + N if signal N ended it. Nothing while it runs.
  std::optional<int> exit_code();
  /// Waits for that.
  int wait();
  void send_signal(int signal_number);

 private:
  pid_t process_ = -1;
  std::optional<int> exit_code_;
};

}  // namespace normtune
