#include "nn/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <optional>
#include <span>

#include "nn/unicode_exceptions.h"

namespace normtune {

namespace {

struct CodePointRange {
  char32_t first;
  char32_t last;
};

template <size_t N>
bool contains(const CodePointRange (&ranges)[N], char32_t code_point) {
  return std::any_of(std::begin(ranges), std::end(ranges), [code_point](const CodePointRange& range) {
    return range.first <= code_point && code_point <= range.last;
  });
}

/// The exception whose range holds `code_point`; the list is sorted.
const UnicodeException* find_exception(std::span<const UnicodeException> exceptions, char32_t code_point) {
  const auto after = std::upper_bound(
      exceptions.begin(), exceptions.end(), code_point,
      [](char32_t value, const UnicodeException& exception) { return value < exception.first; });
  if (after == exceptions.begin()) return nullptr;
  const UnicodeException& candidate = *(after - 1);
  return code_point <= candidate.last ? &candidate : nullptr;
}

std::optional<bool> excepted_flag(std::span<const UnicodeException> exceptions, char32_t code_point) {
  const UnicodeException* exception = find_exception(exceptions, code_point);
  if (exception == nullptr) return std::nullopt;
  return exception->value != 0;
}

utf8proc_category_t category(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

/// What may follow a lead byte: how many continuation bytes, and the range of the first of them (table 3-7 of
/// the Unicode Standard), which excludes overlong forms, surrogates and values above U+10FFFF. The others
/// are 80..BF.
struct LeadByte {
  int num_continuations;  // 0: not a lead byte
  unsigned char first_low = 0x80;
  unsigned char first_high = 0xBF;
};

LeadByte classify_lead_byte(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {2};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {0};
}

}  // namespace

DecodedCodePoint decode_utf8(std::string_view text, size_t position) {
  const auto byte_at = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte_at(position);
  if (lead < 0x80) return {lead, 1, true};
  const LeadByte form = classify_lead_byte(lead);
  if (form.num_continuations == 0) return {replacement_character, 1, false};
  char32_t value = lead & (0x3F >> form.num_continuations);
  for (int i = 1; i <= form.num_continuations; ++i) {
    const size_t next = position + i;
    const unsigned char low = i == 1 ? form.first_low : 0x80;
    const unsigned char high = i == 1 ? form.first_high : 0xBF;
    if (next >= text.size() || byte_at(next) < low || byte_at(next) > high) {
      return {replacement_character, static_cast<size_t>(i), false};
    }
    value = value << 6 | (byte_at(next) & 0x3F);
  }
  return {value, static_cast<size_t>(form.num_continuations) + 1, true};
}

void append_utf8(char32_t code_point, std::string& output) {
  if (code_point < 0x80) {
    output.push_back(static_cast<char>(code_point));
    return;
  }
  const int num_continuations = code_point < 0x800 ? 1 : code_point < 0x10000 ? 2 : 3;
  constexpr unsigned char lead_marks[] = {0, 0xC0, 0xE0, 0xF0};
  output.push_back(static_cast<char>(lead_marks[num_continuations] | code_point >> (6 * num_continuations)));
  for (int i = num_continuations - 1; i >= 0; --i) {
    output.push_back(static_cast<char>(0x80 | (code_point >> (6 * i) & 0x3F)));
  }
}

bool is_valid_utf8(std::string_view text) {
  for (size_t position = 0; position < text.size();) {
    const DecodedCodePoint decoded = decode_utf8(text, position);
    if (!decoded.well_formed) return false;
    position += decoded.num_bytes;
  }
  return true;
}

size_t count_code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; });
}

bool is_white_space(char32_t code_point) {
  static constexpr CodePointRange white_space[] = {
      {0x0009, 0x000D}, {0x0020, 0x0020}, {0x0085, 0x0085}, {0x00A0, 0x00A0}, {0x1680, 0x1680},
      {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};
  return contains(white_space, code_point);
}

bool is_removed_by_cleaning(char32_t code_point) {
  if (code_point == '\t' || code_point == '\n' || code_point == '\r') return false;
  if (code_point == replacement_character) return true;
  if (const auto exception = excepted_flag(removed_exceptions, code_point)) return *exception;
  const utf8proc_category_t found = category(code_point);
  return found == UTF8PROC_CATEGORY_CC || found == UTF8PROC_CATEGORY_CF || found == UTF8PROC_CATEGORY_CO;
}

bool is_punctuation(char32_t code_point) {
  if (code_point < 0x80) {
    return (code_point >= 33 && code_point <= 47) || (code_point >= 58 && code_point <= 64) ||
           (code_point >= 91 && code_point <= 96) || (code_point >= 123 && code_point <= 126);
  }
  if (const auto exception = excepted_flag(punctuation_exceptions, code_point)) return *exception;
  const utf8proc_category_t found = category(code_point);
  return found >= UTF8PROC_CATEGORY_PC && found <= UTF8PROC_CATEGORY_PO;
}

bool is_cjk_ideograph(char32_t code_point) {
  // Extension E begins at U+2B820; the library's list begins it at U+2B920, and so do we.
  static constexpr CodePointRange ideographs[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                                  {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F},
                                                  {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
  return contains(ideographs, code_point);
}

bool is_nonspacing_mark(char32_t code_point) {
  if (const auto exception = excepted_flag(nonspacing_mark_exceptions, code_point)) return *exception;
  return category(code_point) == UTF8PROC_CATEGORY_MN;
}

int combining_class(char32_t code_point) {
  const UnicodeException* exception = find_exception(combining_class_exceptions, code_point);
  if (exception != nullptr) return static_cast<int>(exception->value);
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(code_point))->combining_class;
}

CodePointSequence canonical_decomposition(char32_t code_point) {
  if (find_exception(not_decomposed_exceptions, code_point) != nullptr) return {{code_point}, 1};
  utf8proc_int32_t decomposed[4];
  const auto size = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), decomposed, 4,
                                            UTF8PROC_DECOMPOSE, nullptr);
  CodePointSequence sequence{{}, static_cast<int>(size)};
  std::copy_n(decomposed, size, sequence.values.begin());
  return sequence;
}

CodePointSequence lower_case(char32_t code_point) {
  constexpr char32_t capital_i_with_dot = 0x130;
  constexpr char32_t combining_dot_above = 0x307;
  if (code_point == capital_i_with_dot) return {{'i', combining_dot_above}, 2};
  if (const UnicodeException* exception = find_exception(lower_case_exceptions, code_point)) {
    return {{exception->value + (code_point - exception->first)}, 1};
  }
  return {{static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point)))}, 1};
}

}  // namespace normtune
