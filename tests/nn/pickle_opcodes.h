#pragma once

#include <cassert>
#include <string>

namespace normtune::testing {

/// The opcode BINUNICODE: a text of less than 256 bytes as a pickle holds it.
inline std::string pickled_text(const std::string& text) {
  assert(text.size() < 256);
  const char length[] = {static_cast<char>(text.size()), 0, 0, 0};
  return "X" + std::string(length, 4) + text;
}

}  // namespace normtune::testing
