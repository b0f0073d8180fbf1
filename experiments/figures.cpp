#include "experiments/figures.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "experiments/child_process.h"
#include "tensor/error.h"

namespace normtune {

namespace fs = std::filesystem;

namespace {

/// A folder of our own for what the script prints; removed with all that is in it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (fs::temp_directory_path() / "normtune-figures-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~ScratchFolder() {
    std::error_code unused;
    if (!path_.empty()) fs::remove_all(path_, unused);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  /// Empty if the system would not make one.
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

fs::path script_path(const std::string& script) {
  const char* folder = std::getenv("NORMTUNE_TOOLS");
  return fs::path(folder != nullptr && *folder != '\0' ? folder : NORMTUNE_TOOLS_FOLDER) / script;
}

/// Every python3 on the PATH: one of a virtual environment may lack the matplotlib that the system's has.
std::vector<fs::path> python_candidates() {
  if (const char* python = std::getenv("NORMTUNE_PYTHON"); python != nullptr && *python != '\0') {
    return {python};
  }
  const char* search_path = std::getenv("PATH");
  std::istringstream folders(search_path != nullptr ? search_path : "/usr/bin");
  std::vector<fs::path> candidates;
  std::error_code unused;
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (fs::exists(fs::path(folder) / "python3", unused)) candidates.push_back(fs::path(folder) / "python3");
  }
  return candidates;
}

std::vector<std::string> lines_of(const fs::path& file) {
  std::ifstream stream(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

struct ScriptRun {
  int exit_code;
  std::vector<std::string> said;  ///< lines of standard output if all went well, of standard error otherwise
};

ScriptRun run_script(const fs::path& python, const std::vector<std::string>& words, const fs::path& scratch) {
  const fs::path output = scratch / "output", errors = scratch / "errors";
  std::error_code unused;
  fs::remove(errors, unused);
  try {
    ChildProcess process(
        {.program = python.string(), .arguments = words, .output = output, .errors = errors});
    const int exit_code = process.wait();
    return {exit_code, lines_of(exit_code == 0 ? output : errors)};
  } catch (const Error& error) {  // no process to be had, or no room for what it says
    return {1, {error.what()}};
  }
}

std::string command_line(const fs::path& script, const std::vector<std::string>& arguments) {
  std::string line = fmt::format("python3 {}", script.string());
  for (const std::string& argument : arguments) {
    const bool plain = !argument.empty() && argument.find_first_of(" \t'\"$\\*?&;|<>()") == std::string::npos;
    line += plain ? " " + argument : fmt::format(" \"{}\"", argument);
  }
  return line;
}

DrawnFigures not_drawn(const std::string& reason, const fs::path& script,
                       const std::vector<std::string>& arguments) {
  return {
      .files = {},
      .note = fmt::format("no figures: {}; to draw them later: {}", reason, command_line(script, arguments))};
}

}  // namespace

DrawnFigures draw_figures(const std::string& script, const std::vector<std::string>& arguments) {
  const fs::path file = script_path(script);
  std::error_code unused;
  if (!fs::exists(file, unused)) {
    return not_drawn(fmt::format("{} is not there (NORMTUNE_TOOLS names its folder)", file.string()), file,
                     arguments);
  }
  const ScratchFolder scratch;
  if (scratch.path().empty()) return not_drawn("no room for temporary files", file, arguments);
  std::vector<std::string> words = {file.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::string reason = "there is no python3 on the PATH";
  for (const fs::path& python : python_candidates()) {
    const ScriptRun run = run_script(python, words, scratch.path());
    if (run.exit_code == 0) return {.files = {run.said.begin(), run.said.end()}, .note = {}};
    reason = run.said.empty() ? fmt::format("{} failed with code {}", python.string(), run.exit_code)
                              : run.said.back();
  }
  return not_drawn(reason, file, arguments);
}

}  // namespace normtune
