#pragma once

#include <string>
#include <string_view>

namespace normtune {

/// Text from a file, fit for a one-line message: in single quotes, control characters and bytes that are not
/// UTF-8 as \xNN, cut after 200 bytes.
std::string printable(std::string_view text);

}  // namespace normtune
