#include <boost/test/unit_test.hpp>
#include <cmath>

#include "experiments/csv_file.h"
#include "experiments/dataset.h"
#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;
using fixtures::TemporaryFolder;

namespace {

Dataset load_train(const std::filesystem::path& file, int64_t max_samples = all_samples) {
  return load_own_file(file, "train", std::nullopt, true, max_samples);
}

std::string own_summary(const Dataset& dataset) {
  std::string text;
  for (const Example& example : dataset.examples) {
    text += fmt::format("{}:", example.idx);
    text += dataset.regression ? fmt::format("{}", example.target) : fmt::format("{}", example.label);
    text += ":" + example.sentence1;
    if (example.sentence2) text += "/" + *example.sentence2;
    text += ";";
  }
  return text;
}

std::string names(const Dataset& dataset) {
  return fmt::format("{}", fmt::join(dataset.label_names, ","));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(own_reader)

BOOST_AUTO_TEST_CASE(csv_with_quotes) {
  const TemporaryFolder folder;
  const auto rows = read_csv(DataFile(folder.write("a.csv",
                                                   "\xEF\xBB\xBF"
                                                   "a,b\r\n\"x, \"\"y\"\"\n z\", w \r\n\n,\"\"\r\nlast,1")));
  BOOST_REQUIRE(rows.size() == 4u);
  BOOST_TEST(rows[0].fields == (std::vector<std::string>{"a", "b"}), boost::test_tools::per_element());
  BOOST_TEST(rows[1].fields == (std::vector<std::string>{"x, \"y\"\n z", " w "}),
             boost::test_tools::per_element());
  BOOST_TEST(rows[2].fields == (std::vector<std::string>{"", ""}), boost::test_tools::per_element());
  BOOST_TEST(rows[3].fields == (std::vector<std::string>{"last", "1"}), boost::test_tools::per_element());
  BOOST_TEST(rows[1].line == 2);
  BOOST_TEST(rows[2].line == 5);
  BOOST_TEST(rows[3].line == 6);
}

BOOST_AUTO_TEST_CASE(csv_quotes_in_wrong_places) {
  const TemporaryFolder folder;
  for (const char* bad : {"a,b\nx,y\n\"c\"d,e\n", "a,b\nx,y\nc\"d,e\n", "a,b\nx,y\n\"never closed,e\nf\n"}) {
    const auto file = folder.write("bad.csv", bad);
    check_error_parts(ErrorKind::data, {"bad.csv, line 3", "double quote"},
                      [&] { read_csv(DataFile(file)); });
  }
}

BOOST_AUTO_TEST_CASE(classes_from_integers_and_texts) {
  const TemporaryFolder folder;
  const Dataset integers = load_train(folder.write("i.csv", "sentence1,label\na,10\nb,2\nc,10\nd,-1\n"));
  BOOST_TEST(names(integers) == "-1,2,10");
  BOOST_TEST(own_summary(integers) == "0:2:a;1:1:b;2:2:c;3:0:d;");
  BOOST_TEST(!integers.regression);
  const Dataset texts =
      load_train(folder.write("t.csv", "label,sentence1,sentence2\npos,a,b\nneg,c,d\nZ,e,f\n"));
  BOOST_TEST(names(texts) == "Z,neg,pos");
  BOOST_TEST(own_summary(texts) == "0:2:a/b;1:1:c/d;2:0:e/f;");
  const Dataset mixed = load_train(folder.write("m.csv", "sentence1,label\na,1\nb,3+\n"));
  BOOST_TEST(names(mixed) == "1,3+");
}

BOOST_AUTO_TEST_CASE(scores_have_a_decimal_point) {
  const TemporaryFolder folder;
  const Dataset scores = load_train(folder.write("s.csv", "sentence1,label\na,1\nb,2.5\nc,-1e1\n"));
  BOOST_TEST(scores.regression);
  BOOST_TEST(names(scores) == "");
  BOOST_TEST(own_summary(scores) == "0:1:a;1:2.5:b;2:-10:c;");
  check_error_parts(ErrorKind::data, {"s.csv, line 3", "since line 2 has the score '1.5'", "found 'high'"},
                    [&] { load_train(folder.write("s.csv", "sentence1,label\na,1.5\nb,high\n")); });
  check_error_parts(ErrorKind::data, {"s.csv, line 3", "found 'nan'"},
                    [&] { load_train(folder.write("s.csv", "sentence1,label\na,1.5\nb,nan\n")); });
}

BOOST_AUTO_TEST_CASE(json_lines) {
  const TemporaryFolder folder;
  const Dataset dataset = load_train(
      folder.write("d.jsonl", R"({"sentence1": "caf\u00e9 \"x\"", "sentence2": "b", "label": "no", "idx": 7})"
                              "\n"
                              R"({"sentence1": "c", "sentence2": "d", "label": "yes", "idx": 8})"
                              "\r\n"));
  BOOST_TEST(names(dataset) == "no,yes");
  BOOST_TEST(own_summary(dataset) == "7:0:caf\xC3\xA9 \"x\"/b;8:1:c/d;");
  // JSON tells texts from numbers: "1.5" is a class, 1.5 a score.
  BOOST_TEST(names(load_train(folder.write("t.jsonl", R"({"sentence1": "a", "label": "1.5"})"
                                                      "\n"
                                                      R"({"sentence1": "b", "label": 2})"
                                                      "\n"))) == "1.5,2");
  BOOST_TEST(load_train(folder.write("f.jsonl", R"({"sentence1": "a", "label": 1.0})"
                                                "\n"
                                                R"({"sentence1": "b", "label": 2})"
                                                "\n"))
                 .regression);
  const Dataset hub = load_train(folder.write("h.jsonl", R"({"premise": "a", "hypothesis": "b", "label": 0})"
                                                         "\n"
                                                         R"({"premise": "c", "hypothesis": "d", "label": 1})"
                                                         "\n"));
  BOOST_TEST(own_summary(hub) == "0:0:a/b;1:1:c/d;");
}

BOOST_AUTO_TEST_CASE(columns_that_are_not_used) {
  const TemporaryFolder folder;
  const Dataset dataset = load_train(folder.write("c.csv", "sentence1,sentence_2,label\na,b,0\nc,d,1\n"));
  BOOST_REQUIRE(dataset.warnings.size() == 1u);
  BOOST_TEST(dataset.warnings[0].find("'sentence_2'") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(validation_uses_the_labels_of_train) {
  const TemporaryFolder folder;
  const Dataset train = load_train(folder.write("train.csv", "sentence1,label\na,no\nb,yes\n"));
  const auto load_validation = [&](std::string_view content, bool required = true) {
    return load_own_file(folder.write("v.csv", content), "dev", label_scheme(train), required);
  };
  const Dataset dev = load_validation("sentence1,label\nc,yes\n");
  BOOST_TEST(own_summary(dev) == "0:1:c;");
  BOOST_TEST(names(dev) == "no,yes");
  check_error_parts(ErrorKind::data, {"v.csv, line 3", "expected a label of no, yes", "found 'maybe'"},
                    [&] { load_validation("sentence1,label\nc,yes\nd,maybe\n"); });
  check_error_parts(ErrorKind::data, {"v.csv, line 2", "no, yes", "found '0'"},
                    [&] { load_validation("sentence1,label\nc,0\n"); });
  check_error_parts(ErrorKind::data, {"v.csv, line 2", "expected a label, found none"},
                    [&] { load_validation("sentence1\nc\n"); });
}

BOOST_AUTO_TEST_CASE(test_files_may_lack_labels) {
  const TemporaryFolder folder;
  const LabelScheme classes{.names = {"0", "1"}};
  const auto load_test = [&](std::string_view content, const LabelScheme& scheme) {
    return load_own_file(folder.write("t.csv", content), "test", scheme, false);
  };
  const Dataset without = load_test("sentence1\na\nb\n", classes);
  BOOST_TEST(own_summary(without) == "0:-1:a;1:-1:b;");
  BOOST_TEST(!without.labelled);
  BOOST_TEST(!load_test("sentence1,label\na,-1\nb,-1\n", classes).labelled);
  BOOST_TEST(!load_test("sentence1,label\na,1\nb,\n", classes).labelled);
  const Dataset with = load_test("sentence1,label\na,1\nb,0\n", classes);
  BOOST_TEST(with.labelled);
  BOOST_TEST(own_summary(with) == "0:1:a;1:0:b;");
  const Dataset scores = load_test("sentence1\na\n", {.regression = true});
  BOOST_TEST(std::isnan(scores.examples[0].target));
  BOOST_TEST(load_test("sentence1,label\na,-1\n", {.regression = true}).examples[0].target == -1.0);
}

BOOST_AUTO_TEST_CASE(schemes_of_models) {
  const LabelScheme unnamed = label_scheme(std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"});
  BOOST_TEST(fmt::format("{}", fmt::join(unnamed.names, ",")) == "0,1,2");
  BOOST_TEST(label_scheme(std::vector<std::string>{"LABEL_0"}).regression);
  const LabelScheme named = label_scheme(std::vector<std::string>{"neg", "pos"});
  const TemporaryFolder folder;
  const auto file = folder.write("d.csv", "sentence1,label\na,1\nb,neg\n");
  BOOST_TEST(own_summary(load_own_file(file, "dev", named, true)) == "0:1:a;1:0:b;");
}

BOOST_AUTO_TEST_CASE(names_that_are_numbers_are_no_positions) {
  const TemporaryFolder folder;
  const LabelScheme one_and_two = label_scheme(std::vector<std::string>{"1", "2"});
  const auto load = [&](std::string_view rows) {
    return load_own_file(folder.write("d.csv", "sentence1,label\n" + std::string(rows)), "dev", one_and_two,
                         true);
  };
  BOOST_TEST(own_summary(load("a,2\nb,1\n")) == "0:1:a;1:0:b;");
  check_error_parts(ErrorKind::data, {"d.csv, line 3", "expected a label of 1, 2", "found '0'"},
                    [&] { load("a,1\nb,0\n"); });
}

BOOST_AUTO_TEST_CASE(first_rows_keep_all_classes) {
  const TemporaryFolder folder;
  const Dataset dataset = load_train(folder.write("c.csv", "sentence1,label\na,1\nb,0\nc,2\n"), 1);
  BOOST_TEST(own_summary(dataset) == "0:1:a;");
  BOOST_TEST(names(dataset) == "0,1,2");
}

BOOST_AUTO_TEST_CASE(malformed_files) {
  struct Case {
    std::string name, content;
    std::vector<std::string> message;
    ErrorKind kind = ErrorKind::data;
  };
  const std::vector<Case> cases = {
      {"a.csv", "", {"expected a header and rows, found no rows"}},
      {"a.csv", "sentence1,label\n", {"expected rows, found none"}},
      {"a.csv", "text,label\na,1\n", {"line 1", "sentence1[,sentence2],label", "'label,text'"}},
      {"a.csv", "sentence1,label,label\na,1,1\n", {"line 1", "distinct"}},
      {"a.csv", "sentence1,label\na,1\n\"b\nb\",1,2\n", {"line 3", "expected 2 fields", "found 3"}},
      {"a.csv", "sentence1,label\na,1\nb,1\n", {"at least two classes", "only '1'"}},
      {"a.csv", "sentence1\na\nb\n", {"line 2", "expected a label, found none"}},
      {"a.csv", "sentence1,label\na,\n", {"line 2", "expected a label, found none"}},
      {"a.csv", "sentence1,idx,label\na,x,1\n", {"line 2", "integer as idx", "'x'"}},
      {"a.csv", "sentence1,label\na,1\nb\xE9,0\n", {"line 3", "UTF-8"}},
      {"a.tsv", "sentence1\tlabel\n", {"a.tsv", ".csv, .jsonl", "--glue_dir"}, ErrorKind::usage},
      {"a.jsonl", "", {"expected rows, found none"}},
      {"a.jsonl", "[1]\n", {"line 1", "expected a JSON object", "'[1]'"}},
      {"a.jsonl", "{\"sentence1\": \"a\", \"label\": 1}\n{\"sentence1\": \"a\", \n", {"a.jsonl, line 2"}},
      {"a.jsonl",
       "{\"sentence1\": \"a\", \"label\": 1}\n{\"label\": 1}\n",
       {"line 2", "\"sentence1\"", "found none"}},
      {"a.jsonl",
       "{\"sentence1\": 3, \"label\": 1}\n",
       {"line 1", "expected a text as \"sentence1\"", "'3'"}},
      {"a.jsonl", "{\"sentence1\": \"a\", \"label\": true}\n", {"line 1", "\"label\"", "'true'"}},
      {"a.jsonl", "{\"sentence1\": \"a\", \"label\": 1, \"idx\": 1.5}\n", {"line 1", "idx", "'1.5'"}},
      {"a.jsonl",
       "{\"sentence1\": \"a\", \"label\": 1}\n\n{\"sentence1\": \"a\", \"label\": 0}\n",
       {"line 2"}},
  };
  for (const Case& bad : cases) {
    const TemporaryFolder folder;
    const auto file = folder.write(bad.name, bad.content);
    std::vector<std::string> parts = bad.message;
    parts.push_back(bad.name);
    check_error_parts(bad.kind, parts, [&] { load_train(file); });
  }
  check_error_parts(ErrorKind::data, {"none.csv"}, [&] { load_train("/none.csv"); });
}

BOOST_AUTO_TEST_CASE(every_truncation_and_bit_flip) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> good_files = {
      {"a.csv", "sentence1,sentence2,label\n\"a, \"\"b\"\"\",c,1\nd,\"e\nf\",0\n"},
      {"a.jsonl", "{\"sentence1\": \"a\\u00e9\", \"label\": 1}\n{\"sentence1\": \"b\", \"label\": 0}\n"},
  };
  for (const auto& [name, good] : good_files) {
    int64_t loaded = 0, refused = 0;
    const auto attempt = [&, name = name](const std::string& content) {
      const auto file = folder.write(name, content);
      try {
        loaded += load_train(file).examples.empty() ? 0 : 1;
      } catch (const Error& error) {
        BOOST_CHECK_MESSAGE(error.kind() == ErrorKind::data, error.what());
        BOOST_CHECK_MESSAGE(std::string(error.what()).find(name) != std::string::npos, error.what());
        ++refused;
      }
    };
    for (size_t size = 0; size < good.size(); ++size) attempt(good.substr(0, size));
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
      std::string flipped = good;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      attempt(flipped);
    }
    BOOST_TEST(loaded + refused == static_cast<int64_t>(good.size() * 9));
    BOOST_TEST(loaded > 0);
    BOOST_TEST(refused > 0);
  }
}

BOOST_AUTO_TEST_CASE(minus_one_among_classes_is_a_class_that_is_spoken_of) {
  const TemporaryFolder folder;
  const Dataset dataset = load_train(folder.write("a.csv", "sentence1,label\na,-1\nb,0\nc,1\n"));
  BOOST_TEST(names(dataset) == "-1,0,1");
  BOOST_REQUIRE(dataset.warnings.size() == 1u);
  BOOST_TEST(dataset.warnings[0].find("the label -1 is taken as a class") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
