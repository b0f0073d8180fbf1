#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace normtune {

/// A score that was not made by a run: a bag of words, a published number.
struct Baseline {
  std::string method;
  std::string task;  ///< `average`: as published, over whatever tasks the source has
  double score = 0;  ///< a fraction
  std::string source;
};

/// Reads a CSV file with the columns `method,task,score,source`. Throws Error(data) naming file and line.
std::vector<Baseline> read_baselines(const std::filesystem::path& file);

}  // namespace normtune
