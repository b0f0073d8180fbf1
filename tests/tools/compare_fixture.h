#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/tools/support.h"

namespace normtune::test {

/// A tiny model, tiny tasks with a labelled test split, and the options of a comparison on them.
struct CompareFixture {
  TemporaryFolder folder;
  std::string model = (folder / "model").string(), glue = (folder / "glue").string(),
              output = (folder / "out").string();

  CompareFixture() {
    write_tiny_model(model);
    write_tiny_glue(glue);
    for (const char* task : {"RTE", "CoLA"}) {
      const std::filesystem::path rows = folder / "glue" / task;
      std::filesystem::copy_file(rows / "dev.tsv", rows / "test_labelled.tsv");
    }
  }

  /// Two tasks, three rows, two seeds: twelve runs of one epoch in `to` (by default `output`).
  std::vector<std::string> command(const std::vector<std::string>& options = {},
                                   const std::string& to = "") const {
    std::vector<std::string> arguments = {"compare",
                                          model,
                                          "--tasks",
                                          "rte,cola",
                                          "--glue_dir",
                                          glue,
                                          "--methods",
                                          "full,head,full@untrained",
                                          "--seeds",
                                          "1,2",
                                          "--learning_rate",
                                          "1e-2",
                                          "--num_train_epochs",
                                          "1",
                                          "--costs",
                                          "false",
                                          "--report_split",
                                          "test_labelled",
                                          "--output_dir",
                                          to.empty() ? output : to};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return arguments;
  }
  Outcome compare(const std::vector<std::string>& options = {}, const std::string& to = "") const {
    return run_normtune(command(options, to));
  }

  /// The tables as bytes.
  static std::string tables(const std::string& from) {
    std::string bytes;
    for (const char* name : {"table.csv", "table.md", "table.tex", "comparisons.csv"}) {
      bytes += std::string(name) + "\n" + read_text(std::filesystem::path(from) / name);
    }
    return bytes;
  }
};

/// How many runs the process says that it has finished or failed, line by line.
inline int64_t count_run_lines(const std::string& text) {
  int64_t count = 0;
  for (size_t at = text.find("] "); at != std::string::npos; at = text.find("] ", at + 1)) {
    const size_t line = text.rfind('\n', at) + 1;  // npos + 1 is 0
    count += text[line] == '[' ? 1 : 0;
  }
  return count;
}

}  // namespace normtune::test
