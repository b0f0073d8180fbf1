#pragma once

#include <cstdint>

namespace normtune {

/// The largest resident set that this process has had so far, in bytes (VmHWM of /proc/self/status; getrusage
/// where there is none).
int64_t peak_rss_bytes();

}  // namespace normtune
