#include "experiments/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

/// A file for the child's output, open until exec.
int open_output(const fs::path& file, int flags) {
  const char* path = file.empty() ? "/dev/null" : file.c_str();
  const int descriptor = ::open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
  if (descriptor < 0) fail(ErrorKind::write, "{}: cannot write: {}", path, std::strerror(errno));
  return descriptor;
}

/// Everything from here to exec must be safe between fork and exec: plain system calls.
[[noreturn]] void become(char* const* arguments, const char* program, int input, int output, int errors,
                         pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above
  for (const int signal_number : {SIGINT, SIGTERM, SIGPIPE}) ::signal(signal_number, SIG_DFL);
  if (::dup2(input, STDIN_FILENO) >= 0 && ::dup2(output, STDOUT_FILENO) >= 0 &&
      ::dup2(errors, STDERR_FILENO) >= 0) {
    ::execv(program, arguments);
  }
  ::_exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const Command& command) {
  std::vector<std::string> words = {command.program};
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  const int input = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int output = open_output(command.output, O_TRUNC);
  const int errors = open_output(command.errors, O_APPEND);
  const pid_t parent = ::getpid();
  process_ = ::fork();
  if (process_ == 0) become(arguments.data(), command.program.c_str(), input, output, errors, parent);
  const int error_number = errno;
  for (const int descriptor : {input, output, errors}) ::close(descriptor);
  if (process_ < 0) {
    fail(ErrorKind::out_of_memory, "cannot start a process for a run: {}; use fewer --jobs",
         std::strerror(error_number));
  }
}

ChildProcess::~ChildProcess() {
  if (exit_code()) return;
  send_signal(SIGKILL);
  wait();
}

std::optional<int> ChildProcess::exit_code() {
  if (exit_code_) return exit_code_;
  int status = 0;
  if (::waitpid(process_, &status, WNOHANG) == process_) {
    exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  return exit_code_;
}

int ChildProcess::wait() {
  int status = 0;
  while (!exit_code_) {
    if (::waitpid(process_, &status, 0) == process_) {
      exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
  }
  return *exit_code_;
}

void ChildProcess::send_signal(int signal_number) {
  if (!exit_code_) ::kill(process_, signal_number);
}

}  // namespace normtune
