#include "experiments/data_file.h"

#include <boost/test/unit_test.hpp>

#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;
using fixtures::TemporaryFolder;

BOOST_AUTO_TEST_SUITE(data_file)

BOOST_AUTO_TEST_CASE(lines_end_with_lf_only) {
  const TemporaryFolder folder;
  const auto lines_of = [&](std::string_view content) {
    const DataFile file(folder.write("lines", content));
    return fmt::format("{}", fmt::join(file.lines(), "|"));
  };
  BOOST_TEST(lines_of("a\nb\n") == "a|b");
  BOOST_TEST(lines_of("a\nb") == "a|b");
  BOOST_TEST(lines_of("a\r\nb\r\n") == "a|b");
  BOOST_TEST(lines_of("a\r\r\nb\r") == "a\r|b\r");  // one CR before LF, no more
  BOOST_TEST(lines_of("\xEF\xBB\xBF"
                      "a\n") == "a");
  BOOST_TEST(lines_of("\xEF\xBB\xBF\xEF\xBB\xBF"
                      "a\n") ==
             "\xEF\xBB\xBF"
             "a");
  // Form feed, NEL and line separator end no record.
  BOOST_TEST(lines_of("a\x0c"
                      "b\xC2\x85"
                      "c\xE2\x80\xA8"
                      "d\n") ==
             "a\x0c"
             "b\xC2\x85"
             "c\xE2\x80\xA8"
             "d");
  BOOST_TEST(lines_of("a\n\nb\n") == "a||b");
  BOOST_TEST(lines_of("a\n\n\n") == "a");
  BOOST_TEST(lines_of("") == "");
}

BOOST_AUTO_TEST_CASE(utf8_is_checked) {
  BOOST_TEST(
      !find_invalid_utf8("plain, \xC3\xA9, \xE2\x82\xAC, \xF0\x9F\x98\x80, \xEF\xBF\xBF, \xF4\x8F\xBF\xBF"));
  const auto invalid_at = [](std::string_view text) { return find_invalid_utf8(text).value_or(999); };
  BOOST_TEST(invalid_at("a\x80") == 1);
  BOOST_TEST(invalid_at("\xC0\xAF") == 0);          // overlong
  BOOST_TEST(invalid_at("\xE0\x9F\xBF") == 0);      // overlong
  BOOST_TEST(invalid_at("\xED\xA0\x80") == 0);      // surrogate
  BOOST_TEST(invalid_at("\xF0\x8F\xBF\xBF") == 0);  // overlong
  BOOST_TEST(invalid_at("\xF4\x90\x80\x80") == 0);  // beyond U+10FFFF
  BOOST_TEST(invalid_at("ab\xE2\x82") == 2);        // cut off
  BOOST_TEST(invalid_at("\xFF") == 0);
}

BOOST_AUTO_TEST_CASE(unreadable_files) {
  const TemporaryFolder folder;
  check_error_parts(ErrorKind::data, {"latin1.tsv, line 3", "UTF-8", "0xe9", "offset 6"},
                    [&] { DataFile(folder.write("latin1.tsv", "a\nb\nca\xE9\n")); });
  check_error_parts(ErrorKind::data, {"none.tsv"}, [&] { DataFile(folder / "none.tsv"); });
  check_error_parts(ErrorKind::data, {folder.path().string()}, [&] { DataFile(folder.path()); });
}

BOOST_AUTO_TEST_CASE(numbers) {
  BOOST_TEST(*parse_integer("-17") == -17);
  BOOST_TEST(!parse_integer(""));
  BOOST_TEST(!parse_integer("1 "));
  BOOST_TEST(!parse_integer("1.0"));
  BOOST_TEST(!parse_integer("99999999999999999999"));
  BOOST_TEST(*parse_number("2.50") == 2.5);
  BOOST_TEST(*parse_number("1e-2") == 0.01);
  for (const char* text : {"", "nan", "inf", "-inf", "1.0x", " 1.0", "1,5", "0x10", "1e999"}) {
    BOOST_TEST(!parse_number(text), text);
  }
}

BOOST_AUTO_TEST_SUITE_END()
