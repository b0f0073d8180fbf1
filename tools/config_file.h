#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace normtune {

/// One `name = value` of a configuration file, the value as it would stand on the command line.
struct ConfigEntry {
  std::string name;
  std::string value;  ///< elements of an array are joined by commas
  int64_t line = 0;
};

/// Reads a TOML file of options, in file order. Throws Error(model) that names file and line if it is missing
/// or is not TOML, Error(usage) for a table or a date where an option's value is expected.
std::vector<ConfigEntry> read_config_file(const std::filesystem::path& file);

}  // namespace normtune
