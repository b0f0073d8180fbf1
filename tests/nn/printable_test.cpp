#include "nn/printable.h"

#include <boost/test/unit_test.hpp>

BOOST_AUTO_TEST_SUITE(printable)

BOOST_AUTO_TEST_CASE(plain_text_is_quoted_as_it_is) {
  BOOST_TEST(normtune::printable("bert.pooler") == "'bert.pooler'");
  BOOST_TEST(normtune::printable("é日") == "'é日'");
  BOOST_TEST(normtune::printable("") == "''");
}

BOOST_AUTO_TEST_CASE(what_would_break_a_line_is_escaped) {
  BOOST_TEST(normtune::printable(std::string_view("a\nb\0c\x7f", 6)) == "'a\\x0ab\\x00c\\x7f'");
  BOOST_TEST(normtune::printable("\xc2\x85\xe2\x80\xa8") ==
             "'\\xc2\\x85\\xe2\\x80\\xa8'");  // NEL, LINE SEPARATOR
  BOOST_TEST(normtune::printable("\x1b[31m") == "'\\x1b[31m'");
}

BOOST_AUTO_TEST_CASE(bytes_that_are_not_utf8_are_escaped) {
  BOOST_TEST(normtune::printable("a\xff\xc3") == "'a\\xff\\xc3'");
  BOOST_TEST(normtune::printable("\xed\xa0\x80") == "'\\xed\\xa0\\x80'");  // a surrogate
}

BOOST_AUTO_TEST_CASE(long_text_is_cut_between_characters) {
  BOOST_TEST(normtune::printable(std::string(200, 'x')) == "'" + std::string(200, 'x') + "'");
  BOOST_TEST(normtune::printable(std::string(201, 'x')) == "'" + std::string(200, 'x') + "...'");
  BOOST_TEST(normtune::printable(std::string(199, 'x') + "éé") == "'" + std::string(199, 'x') + "é...'");
}

BOOST_AUTO_TEST_SUITE_END()
