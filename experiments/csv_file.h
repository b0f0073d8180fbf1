#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/data_file.h"

namespace normtune {

struct CsvRow {
  int64_t line;  ///< where it begins in the file, from 1
  std::vector<std::string> fields;
};

/// The rows of a comma-separated file (RFC 4180): fields in double quotes may hold commas, line ends and
/// doubled quotes; blanks belong to the field. Empty lines are skipped. Throws Error(data) that names file
/// and line for a quote in the wrong place or one that never closes.
std::vector<CsvRow> read_csv(const DataFile& file);

/// The text as a field to write: in quotes if it must be.
std::string csv_field(const std::string& text);

/// The field of a value that may be missing.
template <typename T>
std::string text_or_empty(const std::optional<T>& value) {
  return value ? fmt::format("{}", *value) : "";
}

}  // namespace normtune
