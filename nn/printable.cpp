#include "nn/printable.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

namespace normtune {
namespace {

constexpr size_t longest = 200;  // bytes of the text that are shown

bool breaks_a_line(int32_t code_point) {
  return utf8proc_category(code_point) == UTF8PROC_CATEGORY_CC ||
         utf8proc_category(code_point) == UTF8PROC_CATEGORY_ZL ||
         utf8proc_category(code_point) == UTF8PROC_CATEGORY_ZP;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string shown = "'";
  const std::string_view head = text.substr(0, longest);
  for (size_t i = 0; i < head.size();) {
    int32_t code_point = 0;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + i);
    const auto available = static_cast<utf8proc_ssize_t>(text.size() - i);
    const utf8proc_ssize_t found = utf8proc_iterate(bytes, available, &code_point);
    const size_t length = found > 0 ? static_cast<size_t>(found) : 1;
    if (found > 0 && !breaks_a_line(code_point)) {
      shown.append(text.substr(i, length));
    } else {
      for (size_t k = 0; k < length; ++k) shown += fmt::format("\\x{:02x}", static_cast<unsigned>(bytes[k]));
    }
    i += length;
  }
  return shown + (text.size() > longest ? "...'" : "'");
}

}  // namespace normtune
