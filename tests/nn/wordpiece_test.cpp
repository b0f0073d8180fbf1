#include "nn/wordpiece.h"

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

using namespace normtune;

namespace {

const std::vector<std::string> vocabulary = {"[UNK]",  "un",  "una",    "##ffa", "##aff",
                                             "##able", "##b", "\u00E9", "a",     "##a"};

std::vector<int32_t> ids_of(std::string_view word, int64_t max_input_chars_per_word = 100) {
  std::vector<int32_t> ids;
  WordPiece(vocabulary, 0, max_input_chars_per_word).append_ids(word, ids);
  return ids;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(wordpiece)

BOOST_AUTO_TEST_CASE(takes_the_longest_piece_from_the_left) {
  const std::vector<int32_t> expected = {2, 3};  // not un ##aff, although that leaves no rest
  BOOST_TEST(ids_of("unaffa") == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_word_with_an_unknown_part_is_unknown_as_a_whole) {
  const std::vector<int32_t> unknown = {0};
  BOOST_TEST(ids_of("unaffable") == unknown, boost::test_tools::per_element());  // una ##ffa leaves "ble"
  BOOST_TEST(ids_of("unx") == unknown, boost::test_tools::per_element());
  BOOST_TEST(ids_of("xun") == unknown, boost::test_tools::per_element());
  BOOST_TEST(ids_of("un\u00E9") == unknown, boost::test_tools::per_element());  // no "##\u00E9"
}

BOOST_AUTO_TEST_CASE(the_limit_counts_code_points) {
  const std::vector<int32_t> known = {8, 9, 9};
  BOOST_TEST(ids_of("aaa", 3) == known, boost::test_tools::per_element());
  BOOST_TEST(ids_of("aaa", 2) == std::vector<int32_t>{0}, boost::test_tools::per_element());
  BOOST_TEST(ids_of("\u00E9", 1) == std::vector<int32_t>{7}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(without_continuations_only_whole_words_are_known) {
  std::vector<int32_t> ids;
  const WordPiece wordpiece(std::vector<std::string>{"[UNK]", "a"}, 0, 100);
  wordpiece.append_ids("a", ids);
  wordpiece.append_ids("aa", ids);
  const std::vector<int32_t> expected = {1, 0};
  BOOST_TEST(ids == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
