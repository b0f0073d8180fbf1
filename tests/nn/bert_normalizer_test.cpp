#include "nn/bert_normalizer.h"

#include <utf8proc.h>

#include <boost/test/unit_test.hpp>
#include <functional>
#include <string>
#include <vector>

#include "nn/bert_pre_tokenizer.h"
#include "tests/nn/tokenizer_oracle.h"

using namespace normtune;
using namespace normtune::testing;

namespace {

constexpr BertNormalizerOptions uncased{};
constexpr BertNormalizerOptions cased{.strip_accents = false, .lowercase = false};
constexpr BertNormalizerOptions uncased_keeping_accents{.strip_accents = false};
constexpr BertNormalizerOptions cased_stripping_accents{.lowercase = false};
constexpr BertNormalizerOptions only_strip_accents{
    .clean_text = false, .handle_chinese_chars = false, .lowercase = false};

using Function = std::function<std::string(const std::string&)>;

/// Compares `function`, applied to each code point, with the recorded digests.
void check_all_code_points(const char* name, const Function& function) {
  constexpr char32_t block_size = 0x1000;
  const auto recorded = read_recorded("unicode.json");
  const auto expected = read_list<std::string>(recorded["digests"][name]);
  BOOST_REQUIRE_EQUAL(expected.size(), 0x110000 / block_size);
  for (char32_t block = 0; block < expected.size(); ++block) {
    Digest digest;
    for (char32_t code_point = block * block_size; code_point < (block + 1) * block_size; ++code_point) {
      if (code_point >= 0xD800 && code_point < 0xE000) continue;
      std::string text;
      append_utf8(code_point, text);
      digest.add_text(function(text));
    }
    BOOST_CHECK_MESSAGE(digest.hex() == expected[block],
                        name << ": a code point from U+" << std::hex << block * block_size
                             << " on differs from " << recorded["versions"].dump() << "; built with utf8proc "
                             << utf8proc_version() << " (Unicode " << utf8proc_unicode_version()
                             << "): see tools/make_unicode_exceptions.py");
  }
}

Function normalizing_with(const BertNormalizerOptions& options) {
  return
      [normalizer = BertNormalizer(options)](const std::string& text) { return normalizer.normalize(text); };
}

}  // namespace

BOOST_AUTO_TEST_SUITE(bert_normalizer)

BOOST_AUTO_TEST_CASE(normalizes_every_code_point_as_the_library_does) {
  check_all_code_points("uncased", normalizing_with(uncased));
  check_all_code_points("cased", normalizing_with(cased));
  check_all_code_points("uncased, keeping accents", normalizing_with(uncased_keeping_accents));
  check_all_code_points("cased, stripping accents", normalizing_with(cased_stripping_accents));
}

// U+1D165 (class 216) and U+302E (224) are kept, being spacing marks, so the place of a third mark among them
// shows its class.
BOOST_AUTO_TEST_CASE(orders_every_combining_character_as_the_library_does) {
  const Function ordered = normalizing_with(only_strip_accents);
  check_all_code_points("order",
                        [&](const std::string& text) { return ordered("x\U0001D165" + text + "\u302Ey"); });
  check_all_code_points("order, reversed",
                        [&](const std::string& text) { return ordered("x\u302E" + text + "\U0001D165y"); });
}

BOOST_AUTO_TEST_CASE(splits_at_every_code_point_as_the_library_does) {
  check_all_code_points("words", [](const std::string& text) {
    std::string joined;
    for (const std::string& word : split_words("a" + text + "b"))
      joined += (joined.empty() ? "" : "|") + word;
    return joined;
  });
}

BOOST_AUTO_TEST_CASE(follows_each_option) {
  const std::string text = "\tNa\u00EFve\u65E5";
  BOOST_TEST(BertNormalizer(uncased).normalize(text) == " naive \u65E5 ");
  BOOST_TEST(BertNormalizer(cased).normalize(text) == " Na\u00EFve \u65E5 ");
  BOOST_TEST(BertNormalizer(uncased_keeping_accents).normalize(text) == " na\u00EFve \u65E5 ");
  BOOST_TEST(BertNormalizer(cased_stripping_accents).normalize(text) == " Naive \u65E5 ");
  BOOST_TEST(BertNormalizer(only_strip_accents).normalize(text) == "\tNaive\u65E5");
}

BOOST_AUTO_TEST_CASE(reads_ill_formed_text_as_if_it_were_replacement_characters) {
  BOOST_TEST(BertNormalizer(uncased).normalize("A\xFF\xE6\x97"
                                               "B\xC3") == "ab");
  BOOST_TEST(BertNormalizer(only_strip_accents)
                 .normalize("A\xE6\x97"
                            "B") == "A\uFFFDB");
}

// U+1D165 and U+1D166 have the same class, 216, so they keep their order; U+302E has 224.
BOOST_AUTO_TEST_CASE(orders_a_long_run_of_combining_characters) {
  constexpr int num_repetitions = 100'000;
  std::string text = "x", expected = "x";
  for (int i = 0; i < num_repetitions; ++i) text += "\u302E\U0001D166\U0001D165";
  for (int i = 0; i < num_repetitions; ++i) expected += "\U0001D166\U0001D165";
  for (int i = 0; i < num_repetitions; ++i) expected += "\u302E";
  BOOST_CHECK(BertNormalizer(uncased).normalize(text) == expected);
}

BOOST_AUTO_TEST_CASE(words_are_separated_by_white_space_and_punctuation) {
  const std::vector<std::string> expected = {"don", "'", "t", "a", ".", "b", "\u20AC5", "\u2026"};
  BOOST_TEST(split_words("  don't\u2003a.b \u20AC5\u2026 ") == expected, boost::test_tools::per_element());
  BOOST_TEST(split_words("").empty());
  BOOST_TEST(split_words(" \n ").empty());
}

BOOST_AUTO_TEST_SUITE_END()
