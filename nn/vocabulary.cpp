#include "nn/vocabulary.h"

#include <algorithm>

#include "nn/mapped_file.h"
#include "nn/printable.h"
#include "nn/unicode.h"
#include "tensor/error.h"

namespace normtune {

namespace {

void check_token(std::string_view token, const std::string& file, size_t line) {
  const auto fail_because = [&](std::string_view reason) {
    fail(ErrorKind::model, "{}, line {}: {}", file, line, reason);
  };
  if (token.empty()) fail_because("expected a token, found an empty line; remove it");
  if (!is_valid_utf8(token)) fail_because("expected UTF-8, found other bytes: " + printable(token));
  if (token.find('\r') != std::string_view::npos) {
    fail_because("found a carriage return; lines must end with LF alone, convert the file (dos2unix)");
  }
  if (line == 1 && token.starts_with("\xEF\xBB\xBF")) fail_because("found a byte order mark; remove it");
}

/// Category Lu would say too much: the official uncased vocabulary holds U+211D, an upper-case letter that
/// has no lower-case form.
bool changes_when_lower_cased(std::string_view token) {
  for (size_t position = 0; position < token.size();) {
    const DecodedCodePoint decoded = decode_utf8(token, position);
    const CodePointSequence lower = lower_case(decoded.value);
    if (lower.size != 1 || lower.values[0] != decoded.value) return true;
    position += decoded.num_bytes;
  }
  return false;
}

}  // namespace

std::vector<std::string> read_vocabulary(const std::filesystem::path& path) {
  const std::string content = read_file(path, ErrorKind::model);
  const std::string file = path.string();
  std::vector<std::string> vocabulary;
  std::unordered_map<std::string_view, size_t> lines;
  for (size_t begin = 0, line = 1; begin < content.size(); ++line) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view token = std::string_view(content).substr(begin, end - begin);
    check_token(token, file, line);
    const auto [first, is_new] = lines.emplace(token, line);
    if (!is_new) {
      fail(ErrorKind::model, "{}, line {}: token {} stands already in line {}; each may occur once", file,
           line, printable(token), first->second);
    }
    vocabulary.emplace_back(token);
    begin = end + 1;
  }
  if (vocabulary.empty())
    fail(ErrorKind::model, "{}: expected one token per line, found an empty file", file);
  return vocabulary;
}

bool has_upper_case(std::span<const std::string> vocabulary) {
  return std::any_of(vocabulary.begin(), vocabulary.end(), [](const std::string& token) {
    const bool bracketed = token.starts_with('[') && token.ends_with(']');
    return !bracketed && changes_when_lower_cased(token);
  });
}

std::unordered_map<std::string_view, int32_t> index_tokens(std::span<const std::string> vocabulary) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(vocabulary.size());
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary[id].empty()) ids.emplace(vocabulary[id], static_cast<int32_t>(id));
  }
  return ids;
}

}  // namespace normtune
