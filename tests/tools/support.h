#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/file_helpers.h"

namespace normtune::test {

/// Where a child process' standard output goes.
enum class OutputTo {
  capture,
  closed,       ///< as with >&-
  full_device,  ///< /dev/full: every write fails
  broken_pipe,  ///< a pipe that nobody reads
};

struct Call {
  std::vector<std::string> arguments;
  std::string input = "";
  OutputTo output_to = OutputTo::capture;
  std::vector<std::pair<std::string, std::string>> environment = {};  ///< added to ours
  int signal_after_file = 0;  ///< a signal to send once `awaited_file` is there
  std::filesystem::path awaited_file = {};
};

struct Outcome {
  int exit_code = -1;  ///< 128 + N if signal N ended the program
  std::string out, err;

  /// The last line on standard error.
  std::string last_error_line() const;
  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

/// Runs the program as a user would, as a child process.
Outcome run_normtune(const Call& call);
inline Outcome run_normtune(std::vector<std::string> arguments, std::string input = "") {
  return run_normtune(Call{.arguments = std::move(arguments), .input = std::move(input)});
}

using testing::TemporaryFolder;

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

void write_text(const std::filesystem::path& file, std::string_view text);
std::string read_text(const std::filesystem::path& file);

/// The config.json of a BERT of 2 layers and hidden size 8, whose vocabulary is the one of
/// write_tiny_model().
nlohmann::json tiny_config();

struct TinyModel {
  nlohmann::json config = tiny_config();
  bool weights = true;
  bool pooler = true;
  /// The classifier answers with these logits whatever it reads. Empty: the folder has no classifier.
  std::vector<float> constant_logits = {};
};

/// Writes a model folder with an uncased tokenizer and random weights.
void write_tiny_model(const std::filesystem::path& folder, const TinyModel& model = {});

/// Writes a GLUE folder: RTE and CoLA with 24 training, 9 dev and a few test rows, MNLI and the diagnostic
/// rows without training rows. The words are in the tiny vocabulary.
void write_tiny_glue(const std::filesystem::path& folder);

}  // namespace normtune::test
