#pragma once

#include <string>

namespace normtune {

/// What --version prints: version and build, libraries, instruction set, devices.
std::string version_text();
/// Its first line, as in "normtune 0.1.0".
std::string version_line();

}  // namespace normtune
