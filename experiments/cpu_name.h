#pragma once

#include <string>

namespace normtune {

/// The processor's name as /proc/cpuinfo has it; "unknown" where it has none.
std::string cpu_name();

}  // namespace normtune
