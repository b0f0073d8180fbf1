#include "nn/json_file.h"

#include <nlohmann/json.hpp>

#include "tests/file_helpers.h"

using namespace normtune;
using namespace normtune::testing;

namespace {

void check_json_refused(std::string_view text, std::string_view expected) {
  check_error(ErrorKind::data, expected, [&] { parse_json(text, "x.json", ErrorKind::data); });
}

std::string nested(size_t depth, char open, char close) {
  return std::string(depth, open) + std::string(depth, close);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(json_file)

BOOST_AUTO_TEST_CASE(reads_a_document) {
  const TemporaryFolder folder;
  write_bytes(folder / "a.json", "{\"b\": [1, -2.5, null, true, \"\\u00e9é\"]}\n");
  const nlohmann::json document = read_json_file(folder / "a.json", ErrorKind::model);
  BOOST_TEST(document.at("b").at(0) == 1);
  BOOST_TEST(document.at("b").at(1) == -2.5);
  BOOST_TEST(document.at("b").at(4) == "éé");
}

BOOST_AUTO_TEST_CASE(names_file_line_and_reason) {
  const TemporaryFolder folder;
  const auto path = folder / "a.json";
  write_bytes(path, "{\n  \"a\": 1,\n  \"b\" 2\n}\n");
  check_error(ErrorKind::model,
              path.string() + ", line 3: not valid JSON: syntax error while parsing object separator",
              [&] { read_json_file(path, ErrorKind::model); });
  check_error(ErrorKind::data,
              "cannot read " + (folder / "none.json").string() + ": No such file or directory",
              [&] { read_json_file(folder / "none.json", ErrorKind::data); });
  check_error(ErrorKind::data, "it is a folder, expected a file",
              [&] { read_json_file(folder.path(), ErrorKind::data); });
}

BOOST_AUTO_TEST_CASE(refuses_what_is_not_json) {
  check_json_refused("", "x.json, line 1: not valid JSON: syntax error");
  check_json_refused("{\"a\": 1", "unexpected end of input");
  check_json_refused("{} {}", "x.json, line 1: not valid JSON");
  check_json_refused("{\"a\": NaN}", "not valid JSON");
  check_json_refused("[1,]", "not valid JSON");
  check_json_refused("// comment\n{}", "not valid JSON");
  check_json_refused("[1e999]", "not valid JSON: number overflow");
  check_json_refused("[\"\\ud800\"]", "not valid JSON");
  check_json_refused("[\"a\nb\"]", "not valid JSON");
  check_json_refused("[" + std::string(1000, 'x'), "not valid JSON");
  check_json_refused(std::string_view("[1,\0]", 5), "not valid JSON");
}

BOOST_AUTO_TEST_CASE(refuses_what_is_not_utf8) {
  check_json_refused("{\"a\":\n\"\xff\"}", "x.json, line 2: not UTF-8 (byte 0xff at offset 7)");
  check_json_refused("[\"\xc3\"]", "not UTF-8 (byte 0xc3 at offset 2)");
  check_json_refused("[\"\xed\xa0\x80\"]", "not UTF-8");  // a surrogate
}

BOOST_AUTO_TEST_CASE(refuses_a_key_that_comes_twice) {
  check_json_refused("{\"a\": 1,\n\"a\": 2}", "x.json, line 2: key 'a' comes twice in one object");
  check_json_refused("[{\"b\": {\"\\u0061\": 1, \"a\": 1}}]", "key 'a' comes twice");
  BOOST_TEST(parse_json("[{\"a\": 1}, {\"a\": {\"a\": 2}}]", "x", ErrorKind::data).size() == 2u);
}

BOOST_AUTO_TEST_CASE(refuses_deep_nesting) {
  BOOST_TEST(parse_json(nested(64, '[', ']'), "x", ErrorKind::data).size() == 1u);
  check_json_refused(nested(65, '[', ']'), "nested deeper than 64 levels");
  check_json_refused(std::string(1'000'000, '['), "nested deeper than 64 levels");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  check_json_refused(objects, "nested deeper than 64 levels");
}

BOOST_AUTO_TEST_CASE(writes_sorted_keys_and_a_final_newline) {
  const TemporaryFolder folder;
  const auto path = folder / "a.json";
  write_json_file(path, {{"b", {1, 2}}, {"a", 0.1}, {"c", "é"}});
  BOOST_TEST(read_bytes(path) == "{\n  \"a\": 0.1,\n  \"b\": [\n    1,\n    2\n  ],\n  \"c\": \"é\"\n}\n");
  check_error(ErrorKind::write, "cannot write", [&] { write_json_file(folder / "none/a.json", {}); });
}

BOOST_AUTO_TEST_CASE(corrupted_files_give_a_value_or_an_error) {
  const TemporaryFolder folder;
  const auto path = folder / "a.json";
  const int64_t refused = corrupt("{\"id2label\": {\"0\": \"é\", \"1\": [1e-12, null]}, \"x\": -1}", path,
                                  [&] { read_json_file(path, ErrorKind::model); });
  BOOST_TEST(refused > 100);
}

BOOST_AUTO_TEST_SUITE_END()
