#include "experiments/data_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "nn/mapped_file.h"
#include "tensor/error.h"

namespace normtune {
namespace {

/// Length of the well-formed sequence that `text` begins with, or 0.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && second < 0x90;
    const bool too_large = first == 0xF4 && second > 0x8F;  // beyond U+10FFFF
    return continues(1) && continues(2) && continues(3) && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = utf8_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::nullopt;
}

DataFile::DataFile(std::filesystem::path path)
    : path_(std::move(path)), content_(read_file(path_, ErrorKind::data)) {
  if (const auto at = find_invalid_utf8(content_)) {
    const auto line =
        1 + std::count(content_.begin(), content_.begin() + static_cast<std::ptrdiff_t>(*at), '\n');
    fail(ErrorKind::data,
         "{}, line {}: expected UTF-8, found the byte 0x{:02x} at offset {}; convert the file to UTF-8",
         path_.string(), line, static_cast<unsigned char>(content_[*at]), *at);
  }
  text_ = content_;
  if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
}

std::vector<std::string_view> DataFile::lines() const {
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin < text_.size();) {
    const size_t end = std::min(text_.find('\n', begin), text_.size());
    std::string_view line = text_.substr(begin, end - begin);
    if (end < text_.size() && line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    begin = end + 1;
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_number(std::string_view text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace normtune
