#include "nn/json_file.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

#include "nn/atomic_file.h"
#include "nn/mapped_file.h"
#include "nn/printable.h"

namespace normtune {
namespace {

using nlohmann::json;

constexpr size_t max_depth = 64;

/// Walks over the text for the parser and tells how far it came.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* current, const char** reached) : current_(current), reached_(reached) {}
  reference operator*() const { return *current_; }
  CountingIterator& operator++() {
    *reached_ = ++current_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return current_ == other.current_; }
  bool operator!=(const CountingIterator& other) const { return current_ != other.current_; }

 private:
  const char* current_;
  const char** reached_;
};

std::optional<size_t> first_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    int32_t code_point = 0;
    const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + i),
                                         static_cast<utf8proc_ssize_t>(text.size() - i), &code_point);
    if (length <= 0) return i;
    i += static_cast<size_t>(length);
  }
  return std::nullopt;
}

/// Builds the document while it watches over depth and keys, which the parser alone would let pass.
class StrictParser {
 public:
  StrictParser(std::string_view text, const std::string& where, ErrorKind kind, int64_t first_line)
      : text_(text), where_(where), kind_(kind), first_line_(first_line), reached_(text.data()) {}

  json parse() {
    if (const auto offset = first_invalid_utf8(text_)) {
      reached_ = text_.data() + *offset + 1;
      complain("not UTF-8 (byte {:#04x} at offset {})", static_cast<unsigned char>(text_[*offset]), *offset);
    }
    const char* end = text_.data() + text_.size();
    try {
      return json::parse(
          CountingIterator(text_.data(), &reached_), CountingIterator(end, &reached_),
          [this](int, json::parse_event_t event, json& parsed) { return watch(event, parsed); });
    } catch (const json::exception& error) {
      complain("not valid JSON: {}", reason(error.what()));
    }
  }

 private:
  bool watch(json::parse_event_t event, const json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        keys_.emplace_back();
        if (keys_.size() > max_depth) complain("nested deeper than {} levels", max_depth);
        break;
      case json::parse_event_t::object_end:
      case json::parse_event_t::array_end:
        keys_.pop_back();
        break;
      case json::parse_event_t::key:
        if (!keys_.back().insert(parsed.get<std::string>()).second) {
          complain("key {} comes twice in one object", printable(parsed.get<std::string>()));
        }
        break;
      case json::parse_event_t::value:
        break;
    }
    return true;
  }

  /// The parser's message without its code and position, which counts bytes.
  static std::string reason(std::string_view what) {
    if (const size_t start = what.find("] "); start != std::string_view::npos) what.remove_prefix(start + 2);
    if (what.starts_with("parse error at")) {
      if (const size_t colon = what.find(": "); colon != std::string_view::npos)
        what.remove_prefix(colon + 2);
    }
    const std::string quoted = printable(what);
    return quoted.substr(1, quoted.size() - 2);
  }

  template <typename... Args>
  [[noreturn]] void complain(fmt::format_string<Args...> format, Args&&... args) const {
    // The last byte taken is the one that was not expected; it may be the end of the line.
    const char* last = reached_ == text_.data() ? reached_ : reached_ - 1;
    const auto line = first_line_ + std::count(text_.data(), last, '\n');
    fail(kind_, "{}, line {}: {}", where_, line, fmt::format(format, std::forward<Args>(args)...));
  }

  std::string_view text_;
  const std::string& where_;
  ErrorKind kind_;
  int64_t first_line_;
  const char* reached_;                      // behind the last byte that the parser took
  std::vector<std::set<std::string>> keys_;  // of each open object; empty for an array
};

}  // namespace

json parse_json(std::string_view text, const std::string& where, ErrorKind kind, int64_t first_line) {
  return StrictParser(text, where, kind, first_line).parse();
}

json read_json_file(const std::filesystem::path& path, ErrorKind kind) {
  const MappedFile file(path, kind);
  return parse_json(file.text(), path.string(), kind);
}

std::string json_text(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

void write_json_file(const std::filesystem::path& path, const json& value) {
  write_file_atomically(path, json_text(value));
}

}  // namespace normtune
