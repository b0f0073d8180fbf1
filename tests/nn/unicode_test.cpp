#include "nn/unicode.h"

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

using namespace normtune;

namespace {

/// The code points of a text; ill-formed sequences as U+FFFD.
std::u32string decode(std::string_view text) {
  std::u32string code_points;
  for (size_t position = 0; position < text.size();) {
    const DecodedCodePoint decoded = decode_utf8(text, position);
    code_points += decoded.value;
    position += decoded.num_bytes;
  }
  return code_points;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(unicode)

BOOST_AUTO_TEST_CASE(every_code_point_survives_encoding_and_decoding) {
  int num_survivors = 0;
  for (char32_t code_point = 0; code_point < 0x110000; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    std::string text;
    append_utf8(code_point, text);
    const DecodedCodePoint decoded = decode_utf8(text, 0);
    num_survivors += decoded.value == code_point && decoded.num_bytes == text.size() && decoded.well_formed;
  }
  BOOST_TEST(num_survivors == 0x110000 - 0x800);
}

// Tables 3-8 to 3-11 of The Unicode Standard 15.0: one U+FFFD for each maximal subpart.
BOOST_AUTO_TEST_CASE(ill_formed_sequences_become_one_replacement_per_maximal_subpart) {
  using namespace std::string_literals;
  const std::u32string r = U"\uFFFD";
  // Non-shortest forms.
  BOOST_CHECK(decode("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41") == r + r + r + r + r + r + r + r + U"A");
  // Surrogates.
  BOOST_CHECK(decode("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41") == r + r + r + r + r + r + r + r + U"A");
  // Above U+10FFFF and lone continuation bytes.
  BOOST_CHECK(decode("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42") == r + r + r + r + r + U"A" + r + r + U"B");
  // Truncated sequences.
  BOOST_CHECK(decode("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41") == r + r + r + r + U"A");
  BOOST_CHECK(decode("\xE6\x97") == r);
  BOOST_CHECK(!is_valid_utf8("a\xE6\x97"));
  BOOST_CHECK(is_valid_utf8("a\uFFFD"));
  BOOST_CHECK(is_valid_utf8("\0"s));
}

BOOST_AUTO_TEST_CASE(counts_code_points) {
  BOOST_TEST(count_code_points("") == 0U);
  BOOST_TEST(count_code_points("a\u00E9\u20AC\U0001F600") == 4U);
}

BOOST_AUTO_TEST_CASE(tells_what_needs_no_table_of_exceptions) {
  BOOST_TEST(is_cjk_ideograph(0x2B81F));
  BOOST_TEST(!is_cjk_ideograph(0x2B820));  // Extension E, left out up to U+2B91F
  BOOST_TEST(is_cjk_ideograph(0x2B920));
  BOOST_TEST(combining_class(0x301) == 230);
}

BOOST_AUTO_TEST_SUITE_END()
