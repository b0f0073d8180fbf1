#include "nn/tokenizer.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "tests/nn/tokenizer_folder.h"
#include "tests/nn/tokenizer_oracle.h"

using namespace normtune;
using namespace normtune::testing;

namespace {

constexpr int num_random_texts = 10'000;
constexpr int random_block = 100;
constexpr int64_t random_pair_length = 24;

std::string join(const std::vector<std::string>& tokens) {
  std::string joined;
  for (const std::string& token : tokens) joined += (joined.empty() ? "" : " ") + token;
  return joined;
}

/// Compares with the recorded ids of the golden texts and the digests of the random ones.
void check_references(const std::string& name, const Tokenizer& tokenizer) {
  const auto recorded = read_recorded("references.json")["references"][name];
  const auto texts = read_recorded("texts.json");
  const auto golden = texts["golden"].get<std::vector<std::string>>();
  BOOST_REQUIRE_EQUAL(golden.size(), recorded["golden"].size());
  for (size_t i = 0; i < golden.size(); ++i) {
    BOOST_TEST_CONTEXT(name << ", golden text " << i) {
      const auto expected = read_list<int32_t>(recorded["golden"][i]);
      BOOST_TEST(tokenizer.encode(golden[i]).input_ids == expected, boost::test_tools::per_element());
    }
  }
  const RandomTexts random(texts);
  const auto digests = read_list<std::string>(recorded["random"]);
  BOOST_REQUIRE_EQUAL(digests.size(), num_random_texts / random_block);
  for (int block = 0; block < num_random_texts / random_block; ++block) {
    Digest digest;
    for (int i = block * random_block; i < (block + 1) * random_block; ++i) {
      const std::string text = random.text(i), next = random.text((i + 1) % num_random_texts);
      digest.add_encoding(tokenizer.encode(text));
      digest.add_encoding(tokenizer.encode(text, next, random_pair_length));
    }
    BOOST_CHECK_MESSAGE(digest.hex() == digests[block],
                        name << ": random texts from " << block * random_block << " on differ");
  }
}

std::vector<std::string> lines_of(const std::string& content) {
  std::vector<std::string> lines;
  std::istringstream stream(content);
  for (std::string line; std::getline(stream, line, '\n');) lines.push_back(line);
  return lines;
}

std::string field(const std::string& line, int column) {
  std::istringstream stream(line);
  std::string text;
  for (int i = 0; i <= column; ++i) std::getline(stream, text, '\t');
  return text;
}

/// Digests over blocks of rows, as glue_digests() in record_tokenizer.py.
std::vector<std::string> glue_digests(const Tokenizer& tokenizer,
                                      const std::vector<std::vector<std::string>>& rows) {
  constexpr size_t rows_per_block = 1000;
  std::vector<std::string> digests;
  for (size_t begin = 0; begin < rows.size(); begin += rows_per_block) {
    Digest digest;
    for (size_t i = begin; i < std::min(begin + rows_per_block, rows.size()); ++i) {
      for (const std::string& text : rows[i]) digest.add_encoding(tokenizer.encode(text));
      if (rows[i].size() == 2) digest.add_encoding(tokenizer.encode(rows[i][0], rows[i][1], 128));
    }
    digests.push_back(digest.hex());
  }
  return digests;
}

void check_glue_file(const nlohmann::json& recorded, const std::filesystem::path& data,
                     const std::string& model, const Tokenizer& tokenizer) {
  const auto name = recorded["file"].get<std::string>();
  const std::filesystem::path path = data / "glue" / name;
  const std::string content = std::filesystem::exists(path) ? read_bytes(path) : "";
  Digest content_digest;
  content_digest.add_bytes(content);
  if (content_digest.hex() != recorded["content"]) {
    BOOST_TEST_MESSAGE("skipped " << name << ": it is missing or not the recorded file");
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (const std::string& line : lines_of(content)) {
    std::vector<std::string>& row = rows.emplace_back();
    for (const int column : recorded["columns"]) row.push_back(field(line, column));
  }
  rows.erase(rows.begin(), rows.begin() + recorded["skipped"].get<int>());
  const auto expected = read_list<std::string>(recorded["digests"][model]);
  BOOST_TEST_CONTEXT(name << " with " << model) {
    BOOST_TEST(glue_digests(tokenizer, rows) == expected, boost::test_tools::per_element());
  }
}

/// Calls test(name, tokenizer) for the two published vocabularies, if NORMTUNE_DATA has them.
template <typename Test>
void for_published_vocabularies(Test test) {
  const auto data = data_folder();
  if (!data) {
    BOOST_TEST_MESSAGE("skipped: NORMTUNE_DATA is not set");
    return;
  }
  for (const std::string name : {"bert-base-uncased", "bert-base-cased"}) {
    const std::filesystem::path folder = *data / "models" / name;
    if (std::filesystem::exists(folder)) {
      test(name, Tokenizer::from_folder(folder));
    } else {
      BOOST_TEST_MESSAGE("skipped: there is no " << folder);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(tokenizer)

BOOST_AUTO_TEST_CASE(small_vocabularies_give_the_ids_of_the_library) {
  check_references("uncased", Tokenizer::from_folder(recorded_tokenizer("uncased")));
  check_references("cased", Tokenizer::from_folder(recorded_tokenizer("cased")));
  check_references("added", Tokenizer::from_folder(recorded_tokenizer("added")));
}

BOOST_AUTO_TEST_CASE(options_of_tokenizer_config_give_the_ids_of_the_library) {
  const TokenizerFolder uncased("uncased"), cased("cased");
  cased.remove("tokenizer.json");
  uncased.write("tokenizer_config.json", R"({"do_lower_case": true, "strip_accents": false})");
  check_references("uncased, keeping accents", Tokenizer::from_folder(uncased.path()));
  uncased.write("tokenizer_config.json", R"({"tokenize_chinese_chars": false})");
  check_references("uncased, without CJK spaces", Tokenizer::from_folder(uncased.path()));
  check_references("cased", Tokenizer::from_folder(cased.path()));
  cased.write("tokenizer_config.json", R"({"do_lower_case": false, "strip_accents": true})");
  check_references("cased, stripping accents", Tokenizer::from_folder(cased.path()));
}

BOOST_AUTO_TEST_CASE(published_vocabularies_give_the_ids_of_the_library) {
  for_published_vocabularies(check_references);
}

BOOST_AUTO_TEST_CASE(glue_gives_the_ids_of_the_library) {
  const auto recorded = read_recorded("glue.json");
  for_published_vocabularies([&](const std::string& name, const Tokenizer& tokenizer) {
    for (const auto& file : recorded["files"]) check_glue_file(file, *data_folder(), name, tokenizer);
  });
}

BOOST_AUTO_TEST_CASE(knows_its_special_tokens) {
  const Tokenizer tokenizer = Tokenizer::from_folder(recorded_tokenizer("uncased"));
  BOOST_TEST(tokenizer.vocab_size() == 525);
  BOOST_TEST(tokenizer.pad_token_id() == 0);
  BOOST_TEST(tokenizer.unk_token_id() == 2);
  BOOST_TEST(tokenizer.cls_token_id() == 3);
  BOOST_TEST(tokenizer.sep_token_id() == 4);
  BOOST_TEST(tokenizer.mask_token_id() == 5);
  BOOST_TEST(tokenizer.do_lower_case());
  BOOST_TEST(tokenizer.warnings().empty());
  BOOST_TEST(tokenizer.id_to_token(3) == "[CLS]");
  BOOST_TEST(tokenizer.token_to_id("[SEP]").value() == 4);
  BOOST_TEST(!tokenizer.token_to_id("no such token"));
  BOOST_CHECK_THROW(tokenizer.id_to_token(525), std::invalid_argument);
  BOOST_CHECK_THROW(tokenizer.id_to_token(-1), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(shows_pieces) {
  const Tokenizer tokenizer = Tokenizer::from_folder(recorded_tokenizer("uncased"));
  BOOST_TEST(join(tokenizer.tokenize("Hello, un\u00E4ffable [MASK]\u0378world")) ==
             "hello , un ##affa ##b ##l ##e [MASK] [UNK]");
  BOOST_TEST(join(tokenizer.tokenize("")) == "");
  BOOST_TEST(join(tokenizer.tokens(tokenizer.encode("hello", "world").input_ids)) ==
             "[CLS] hello [SEP] world [SEP]");
}

BOOST_AUTO_TEST_CASE(an_empty_second_text_is_a_pair) {
  const Tokenizer tokenizer = Tokenizer::from_folder(recorded_tokenizer("uncased"));
  const std::vector<int32_t> single = {3, 4}, pair = {3, 4, 4}, types = {0, 0, 1};
  BOOST_TEST(tokenizer.encode("").input_ids == single, boost::test_tools::per_element());
  BOOST_TEST(tokenizer.encode("", "").input_ids == pair, boost::test_tools::per_element());
  BOOST_TEST(tokenizer.encode("", "").token_type_ids == types, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(cuts_the_longer_text_first) {
  const Tokenizer tokenizer = Tokenizer::from_folder(recorded_tokenizer("uncased"));
  const auto table = read_recorded("texts.json")["truncation"];
  constexpr int num_lengths = 10;
  for (const auto& [max_length, kept] : table.items()) {
    for (int first = 0; first < num_lengths; ++first) {
      for (int second = 0; second < num_lengths; ++second) {
        std::string a, b;
        for (int i = 0; i < first; ++i) a += "a ";
        for (int i = 0; i < second; ++i) b += "b ";
        const auto ids = tokenizer.encode(a, b, std::stoi(max_length)).input_ids;
        const auto expected = kept.get<std::string>().substr(2 * (first * num_lengths + second), 2);
        const auto kept_of = [&](const char* token) {
          return std::ranges::count(ids, *tokenizer.token_to_id(token));
        };
        BOOST_TEST_CONTEXT("lengths " << first << ", " << second << " in " << max_length) {
          BOOST_TEST(fmt::format("{}{}", kept_of("a"), kept_of("b")) == expected);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(cuts_to_nothing_but_the_special_tokens) {
  const Tokenizer tokenizer = Tokenizer::from_folder(recorded_tokenizer("uncased"));
  const std::vector<int32_t> single = {3, 4}, pair = {3, 4, 4};
  BOOST_TEST(tokenizer.encode("a b c", std::nullopt, 2).input_ids == single,
             boost::test_tools::per_element());
  BOOST_TEST(tokenizer.encode("a b c", "d", 3).input_ids == pair, boost::test_tools::per_element());
  BOOST_CHECK_THROW(tokenizer.encode("a", std::nullopt, 1), std::invalid_argument);
  BOOST_CHECK_THROW(tokenizer.encode("a", "b", 2), std::invalid_argument);
  const std::vector<TextPair> examples = {{"a", std::nullopt}, {"a", "b"}};
  BOOST_CHECK_THROW(tokenizer.encode_batch(examples, 2), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(reads_ill_formed_text_as_replacement_characters) {
  const Tokenizer tokenizer = Tokenizer::from_folder(recorded_tokenizer("uncased"));
  BOOST_TEST(join(tokenizer.tokenize("hel\xFF\xE6\x97lo w\xC3\xB8\xC3 [SEP\xFF]\xF0")) ==
             join(tokenizer.tokenize("hel\uFFFD\uFFFDlo w\u00F8\uFFFD [SEP\uFFFD]\uFFFD")));
  BOOST_TEST(join(tokenizer.tokenize("hel\xFFlo")) == "hello");
}

BOOST_AUTO_TEST_CASE(long_texts_take_linear_time) {
  const Tokenizer tokenizer = Tokenizer::from_folder(recorded_tokenizer("uncased"));
  constexpr int megabyte = 1'000'000;
  BOOST_TEST(join(tokenizer.tokenize(std::string(megabyte, 'a'))) == "[UNK]");
  BOOST_TEST(tokenizer.tokenize(std::string(megabyte, '[')).size() == megabyte);
  std::string accents = "a";
  for (int i = 0; i < megabyte; ++i) accents += i % 2 == 0 ? "\u0301" : "\u0323";
  BOOST_TEST(join(tokenizer.tokenize(accents)) == "a");
}

BOOST_AUTO_TEST_CASE(batches_do_not_depend_on_threads) {
  const Tokenizer tokenizer = Tokenizer::from_folder(recorded_tokenizer("added"));
  const RandomTexts random(read_recorded("texts.json"));
  std::vector<std::string> texts;
  for (int i = 0; i < 1000; ++i) texts.push_back(random.text(i));
  std::vector<TextPair> examples;
  for (int i = 0; i < 1000; ++i) {
    examples.push_back(
        {texts[i], i % 3 == 0 ? std::nullopt : std::optional<std::string_view>(texts[999 - i])});
  }
  for (const int num_threads : {0, 1, 2, 3, 4, 8, 16}) {
    const std::vector<Encoding> encodings = tokenizer.encode_batch(examples, 20, num_threads);
    BOOST_REQUIRE_EQUAL(encodings.size(), examples.size());
    for (size_t i = 0; i < examples.size(); ++i) {
      const Encoding alone = tokenizer.encode(examples[i].text, examples[i].text_pair, 20);
      BOOST_CHECK(encodings[i].input_ids == alone.input_ids);
      BOOST_CHECK(encodings[i].token_type_ids == alone.token_type_ids);
    }
  }
  BOOST_TEST(tokenizer.encode_batch({}).empty());
}

BOOST_AUTO_TEST_SUITE_END()
