#pragma once

#include <string>

namespace normtune {

/// What --version prints: version and build, libraries, instruction set, devices.
std::string version_text();

}  // namespace normtune
