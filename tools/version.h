#pragma once

#include <string>

namespace normtune {

/// What --version prints: version and build, libraries, instruction set, devices.
std::string version_text();

/// What the message of an unexpected error ends with.
std::string how_to_report();

}  // namespace normtune
