#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace normtune {

/// The Unicode properties that BERT's tokenizer asks for, with the values of the `tokenizers` library. Its
/// tables are of several ages (categories of Unicode 8, lower-casing of Unicode 17), so each function asks
/// utf8proc and then corrects it by unicode_exceptions.h.

/// What stood for an ill-formed sequence (REPLACEMENT CHARACTER).
inline constexpr char32_t replacement_character = 0xFFFD;

/// One code point of a UTF-8 text.
struct DecodedCodePoint {
  char32_t value;
  size_t num_bytes;
  bool well_formed;
};

/// Reads the code point that starts at text[position]; position < text.size(). An ill-formed sequence is read
/// as replacement_character, one for each maximal subpart (The Unicode Standard, section 3.9, table 3-8).
DecodedCodePoint decode_utf8(std::string_view text, size_t position);

void append_utf8(char32_t code_point, std::string& output);

bool is_valid_utf8(std::string_view text);

/// Number of code points of well-formed UTF-8.
size_t count_code_points(std::string_view text);

/// Property White_Space.
bool is_white_space(char32_t code_point);
/// NUL, U+FFFD and the categories Cc, Cf, Co, but for TAB, LF and CR: what cleaning removes. Unassigned code
/// points are kept.
bool is_removed_by_cleaning(char32_t code_point);
/// Category P*, and all ASCII characters that are neither letters, digits, spaces nor controls.
bool is_punctuation(char32_t code_point);
/// The blocks of CJK ideographs that BERT writes as words of their own. Kana and Hangul are not among them.
bool is_cjk_ideograph(char32_t code_point);
/// Category Mn.
bool is_nonspacing_mark(char32_t code_point);

/// Canonical_Combining_Class; 0 for a starter.
int combining_class(char32_t code_point);

/// A few code points that stand for one.
struct CodePointSequence {
  std::array<char32_t, 4> values;
  int size;

  const char32_t* begin() const { return values.data(); }
  const char32_t* end() const { return values.data() + size; }
};

/// Full canonical decomposition (NFD of one code point), Hangul syllables included.
CodePointSequence canonical_decomposition(char32_t code_point);

/// Full lower-casing without context: U+0130 becomes two code points, a final sigma stays U+03C3.
CodePointSequence lower_case(char32_t code_point);

}  // namespace normtune
