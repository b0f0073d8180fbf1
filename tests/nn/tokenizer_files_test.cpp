#include "nn/tokenizer_files.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <string>

#include "nn/tokenizer.h"
#include "tests/nn/tokenizer_folder.h"

using namespace normtune;
using namespace normtune::testing;
using nlohmann::json;

namespace {

/// Reading the folder must fail with this in its one-line message.
void check_folder_refused(const TokenizerFolder& folder, std::string_view expected) {
  check_error(ErrorKind::model, expected, [&] { Tokenizer::from_folder(folder.path()); });
}

/// A folder with only this vocab.txt.
void check_vocabulary_refused(std::string_view content, std::string_view expected) {
  const TokenizerFolder folder("uncased");
  folder.write("vocab.txt", content);
  check_folder_refused(folder, expected);
}

/// The same with one change of a JSON file of a recorded tokenizer.
void check_change_refused(const char* tokenizer, const char* file, const std::string& pointer,
                          const json& value, std::string_view expected) {
  const TokenizerFolder folder(tokenizer);
  folder.change(file, pointer, value);
  BOOST_TEST_CONTEXT(file << " " << pointer << " = " << value) {
    check_folder_refused(folder, expected);
  }
}

void check_same_ids(const std::filesystem::path& folder, const std::filesystem::path& reference) {
  const Tokenizer tokenizer = Tokenizer::from_folder(folder), expected = Tokenizer::from_folder(reference);
  const auto texts = read_recorded("texts.json");
  for (const auto& text : texts["golden"]) {
    BOOST_TEST(tokenizer.encode(text.get<std::string>()).input_ids ==
                   expected.encode(text.get<std::string>()).input_ids,
               boost::test_tools::per_element());
  }
}

const std::string tiny_vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##\u00E9\n";

}  // namespace

BOOST_AUTO_TEST_SUITE(tokenizer_files)

BOOST_AUTO_TEST_CASE(every_form_of_the_same_tokenizer_is_read) {
  const TokenizerFolder text_only("cased"), json_only("cased"), neither_config("cased");
  text_only.remove("tokenizer.json");
  check_same_ids(text_only.path(), recorded_tokenizer("cased"));
  json_only.remove("vocab.txt");
  json_only.remove("tokenizer_config.json");
  check_same_ids(json_only.path(), recorded_tokenizer("cased"));
  // As early versions of the library wrote it, and as newer ones do.
  json_only.change("tokenizer.json", "/model/type", nullptr);
  check_same_ids(json_only.path(), recorded_tokenizer("cased"));
  json_only.write("special_tokens_map.json", R"({"cls_token": {"content": "[CLS]", "lstrip": false}})");
  json_only.write("tokenizer_config.json", R"({"cls_token": "[CLS]", "tokenizer_class": "BertTokenizerFast",
      "model_max_length": 1000000000000000019884624838656, "strip_accents": null, "do_lower_case": false})");
  check_same_ids(json_only.path(), recorded_tokenizer("cased"));
}

BOOST_AUTO_TEST_CASE(the_last_line_may_lack_its_end) {
  const TokenizerFolder folder("uncased");
  folder.write("vocab.txt", tiny_vocabulary);
  BOOST_TEST(Tokenizer::from_folder(folder.path()).vocab_size() == 7);
  folder.write("vocab.txt", tiny_vocabulary.substr(0, tiny_vocabulary.size() - 1));
  BOOST_TEST(Tokenizer::from_folder(folder.path()).vocab_size() == 7);
}

BOOST_AUTO_TEST_CASE(says_what_it_assumes_about_case) {
  const TokenizerFolder folder("uncased");
  folder.remove("tokenizer_config.json");
  const Tokenizer uncased = Tokenizer::from_folder(folder.path());
  BOOST_TEST(uncased.do_lower_case());
  BOOST_REQUIRE(uncased.warnings().size() == 1U);
  BOOST_TEST(uncased.warnings()[0].find("assuming that the model is uncased") != std::string::npos);

  // Upper-case letters without a lower-case form, which the official uncased vocabulary holds.
  folder.write("vocab.txt", tiny_vocabulary + "\u211D\n##\u211D\n");
  BOOST_TEST(Tokenizer::from_folder(folder.path()).do_lower_case());

  folder.write("vocab.txt", tiny_vocabulary + "\u00C9t\u00E9\n");
  const Tokenizer cased = Tokenizer::from_folder(folder.path());
  BOOST_TEST(!cased.do_lower_case());
  BOOST_REQUIRE(cased.warnings().size() == 1U);
  BOOST_TEST(cased.warnings()[0].find("assuming that the model is cased") != std::string::npos);

  folder.write("tokenizer_config.json", "{}");
  const Tokenizer silent = Tokenizer::from_folder(folder.path());
  BOOST_TEST(silent.do_lower_case());
  BOOST_REQUIRE(silent.warnings().size() == 1U);
  BOOST_TEST(silent.warnings()[0].find("has no do_lower_case") != std::string::npos);

  folder.write("tokenizer_config.json", R"({"do_lower_case": false})");
  BOOST_TEST(Tokenizer::from_folder(folder.path()).warnings().empty());
}

BOOST_AUTO_TEST_CASE(refuses_a_broken_vocabulary) {
  check_vocabulary_refused("", "vocab.txt: expected one token per line, found an empty file");
  check_vocabulary_refused(tiny_vocabulary + "a\n", "vocab.txt, line 8: token 'a' stands already in line 6");
  check_vocabulary_refused(tiny_vocabulary + "b\r\nc\r\n", "vocab.txt, line 8: found a carriage return");
  check_vocabulary_refused(tiny_vocabulary + "b\n\nc\n",
                           "vocab.txt, line 9: expected a token, found an empty line");
  check_vocabulary_refused(tiny_vocabulary + "b\n\xFF\n", "vocab.txt, line 9: expected UTF-8");
  check_vocabulary_refused("\uFEFF" + tiny_vocabulary, "vocab.txt, line 1: found a byte order mark");
  check_vocabulary_refused("[PAD]\n[UNK]\n[CLS]\n[MASK]\na\n",
                           "vocab.txt: expected the token '[SEP]' (sep_token)");
  check_vocabulary_refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n",
                           "vocab.txt: expected the token '[MASK]' (mask_token)");
}

BOOST_AUTO_TEST_CASE(refuses_a_folder_without_vocabulary) {
  const TokenizerFolder folder("uncased");
  folder.remove("vocab.txt");
  check_folder_refused(folder, "expected vocab.txt or tokenizer.json, found neither");
  check_error(ErrorKind::model, "found neither", [] { Tokenizer::from_folder("/no/such/folder"); });
}

BOOST_AUTO_TEST_CASE(refuses_files_that_contradict_each_other) {
  const TokenizerFolder swapped("cased");
  std::string vocabulary = swapped.read("vocab.txt");
  vocabulary.replace(vocabulary.find("\na\nb\n"), 5, "\nb\na\n");
  swapped.write("vocab.txt", vocabulary);
  check_folder_refused(swapped, "found 'b', but ");
  const TokenizerFolder longer("cased");
  longer.write("vocab.txt", longer.read("vocab.txt") + "more\n");
  check_folder_refused(longer, "vocab.txt, line 685: found 'more', but ");

  check_change_refused("cased", "tokenizer_config.json", "/do_lower_case", true,
                       "do_lower_case: found true, but");
  check_change_refused("cased", "tokenizer_config.json", "/strip_accents", true,
                       "strip_accents: found true, but");
  check_change_refused("cased", "tokenizer_config.json", "/tokenize_chinese_chars", false,
                       "tokenize_chinese_chars: found false, but");
  check_change_refused("cased", "tokenizer_config.json", "/unk_token", "[PAD]",
                       "model: unk_token: expected '[PAD]', found '[UNK]'");
  check_change_refused("cased", "tokenizer_config.json", "/sep_token", "[PAD]",
                       "post_processor: [SEP]: expected '[PAD]' with id 0, found '[SEP]' with id 4");
  const TokenizerFolder folder("cased");
  folder.write("special_tokens_map.json", R"({"cls_token": "[CLS]"})");
  folder.change("tokenizer_config.json", "/cls_token", {{"content", "[PAD]"}});
  check_folder_refused(folder, "special_tokens_map.json: cls_token: found '[CLS]', but");
}

BOOST_AUTO_TEST_CASE(refuses_other_kinds_of_tokenizers) {
  const auto check = [](const std::string& pointer, const json& value, std::string_view expected) {
    check_change_refused("added", "tokenizer.json", pointer, value, expected);
  };
  check("/model/type", "BPE", "model: type: expected 'WordPiece', found 'BPE'");
  check("/model/continuing_subword_prefix", "@@",
        "model: continuing_subword_prefix: expected '##', found '@@'");
  check("/model/max_input_chars_per_word", 0, "model: max_input_chars_per_word: expected an integer");
  check("/model/vocab", json::array(), "model: vocab: expected an object");
  check("/model/vocab", nullptr, "model: vocab is missing");
  check("/model", nullptr, "model is missing");
  check("/normalizer/type", "Lowercase", "normalizer: type: expected 'BertNormalizer', found 'Lowercase'");
  check("/normalizer/lowercase", "yes", "normalizer: lowercase: expected true or false");
  check("/normalizer", nullptr, "normalizer is missing");
  check("/pre_tokenizer/type", "Whitespace", "pre_tokenizer: type: expected 'BertPreTokenizer'");
  check("/post_processor/type", "RobertaProcessing", "expected 'TemplateProcessing' or 'BertProcessing'");
  check("/post_processor/pair/3/Sequence/type_id", 0, "post_processor: pair: expected [CLS] A [SEP] B [SEP]");
  check("/post_processor/single", json::array(), "post_processor: single: expected [CLS] A [SEP]");
  check("/post_processor/special_tokens/[CLS]/ids", {5},
        "[CLS]: expected '[CLS]' with id 3, found '[CLS]' with id 5");
  check("/post_processor/special_tokens/[CLS]/ids", {3, 3}, "ids: expected a list of one id");
  check_change_refused("cased", "tokenizer.json", "/post_processor/sep", json::array(),
                       "sep: expected a token and its id");
  check_change_refused("uncased", "tokenizer_config.json", "/tokenizer_class", "RobertaTokenizer",
                       "tokenizer_class: expected 'BertTokenizer'");
}

BOOST_AUTO_TEST_CASE(refuses_wrong_ids) {
  const auto check = [](const std::string& pointer, const json& value, std::string_view expected) {
    check_change_refused("added", "tokenizer.json", pointer, value, expected);
  };
  check("/model/vocab/the", 5, "tokens '[MASK]' and 'the' have the same id 5");
  check("/model/vocab/the", -1, "the: expected an integer from 0");
  check("/model/vocab/the", 1000000000, "the: expected an integer from 0");
  check("/model/vocab/the", 1.5, "the: expected an integer from 0");
  check("/model/vocab/the", nullptr, "expected ids from 0 without a gap");
  check("/added_tokens/0/id", 1, "added_tokens: token '[PAD]': expected its id 0, found 1");
  check("/added_tokens/0/content", "", "added_tokens[0]: content: expected a token");
  check("/added_tokens/0/content", "x\u3000",
        "added_tokens[0]: content: expected a token without white space");
  check("/added_tokens/0/content", "\tx", "added_tokens[0]: content: expected a token without white space");
  check("/added_tokens/6/single_word", true, "single_word: expected false, found true");
  check("/added_tokens", 3, "added_tokens: expected a list");
  check("/added_tokens/-", {{"id", 9000}, {"content", "far"}}, "expected ids from 0 without a gap");
  check("/added_tokens/-", {{"id", 7}, {"content", "twice"}}, "have the same id 7");
}

BOOST_AUTO_TEST_CASE(added_tokens_of_the_configuration_are_found_in_text) {
  const TokenizerFolder folder("uncased");
  folder.change("tokenizer_config.json", "/added_tokens_decoder",
                {{"525", {{"content", "<A>"}, {"special", true}, {"normalized", false}}}});
  folder.change("tokenizer_config.json", "/additional_special_tokens", {"<A>", {{"content", "[unused1]"}}});
  const Tokenizer tokenizer = Tokenizer::from_folder(folder.path());
  BOOST_TEST(tokenizer.vocab_size() == 526);
  const std::vector<std::string> expected = {"the", "<A>", "[unused1]", "of"};
  BOOST_TEST(tokenizer.tokenize("the<A>[unused1]of") == expected, boost::test_tools::per_element());

  check_change_refused("uncased", "tokenizer_config.json", "/additional_special_tokens", {"<A>"},
                       "expected the token '<A>' (additional_special_tokens)");
  check_change_refused("uncased", "tokenizer_config.json", "/added_tokens_decoder",
                       {{"x", {{"content", "<A>"}}}},
                       "added_tokens_decoder: expected ids as keys, found 'x'");
  check_change_refused("uncased", "tokenizer_config.json", "/added_tokens_decoder",
                       {{"9", {{"content", "<A>"}}}}, "have the same id 9");
}

BOOST_AUTO_TEST_CASE(of_added_tokens_that_normalize_alike_a_special_one_is_found) {
  const TokenizerFolder folder("added");
  for (const auto& [id, content] : {std::pair{528, "<a>"}, std::pair{529, "<A>"}}) {
    folder.change("tokenizer.json", "/added_tokens/-",
                  {{"id", id}, {"content", content}, {"normalized", true}, {"special", id == 529}});
  }
  const std::vector<std::string> expected = {"<A>", "<A>"};
  BOOST_TEST(Tokenizer::from_folder(folder.path()).tokenize("<a><A>") == expected,
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(tokens_of_the_old_added_tokens_file_must_be_known) {
  const TokenizerFolder folder("added");
  folder.write("added_tokens.json", R"({"<Note>": 525})");
  BOOST_CHECK_NO_THROW(Tokenizer::from_folder(folder.path()));
  folder.write("added_tokens.json", R"({"<Other>": 525})");
  check_folder_refused(folder, "added_tokens.json: token '<Other>' with id 525");
}

BOOST_AUTO_TEST_CASE(survives_every_corruption_of_small_files) {
  const TokenizerFolder folder("uncased");
  const auto read = [&] { Tokenizer::from_folder(folder.path()); };
  const auto corrupt_file = [&](const char* name, const std::string& content) {
    const int64_t refused = corrupt(content, folder.path() / name, read);
    folder.write(name, content);
    return refused;
  };
  folder.write("vocab.txt", tiny_vocabulary);
  read();
  BOOST_TEST(corrupt_file("vocab.txt", tiny_vocabulary) > 0);
  BOOST_TEST(corrupt_file("tokenizer_config.json", R"({"do_lower_case": true, "unk_token": "[UNK]"})") > 0);

  json tokenizer = json::parse(read_bytes(recorded_tokenizer("added") / "tokenizer.json"));
  tokenizer["model"]["vocab"] = {{"[PAD]", 0}, {"[UNK]", 1}, {"[CLS]", 2}, {"[SEP]", 3}, {"[MASK]", 4}};
  tokenizer["added_tokens"] = {{{"id", 5}, {"content", "<A>"}, {"normalized", true}}};
  tokenizer["post_processor"] = {{"type", "BertProcessing"}, {"cls", {"[CLS]", 2}}, {"sep", {"[SEP]", 3}}};
  for (const char* ignored : {"truncation", "padding", "decoder"}) tokenizer.erase(ignored);
  folder.remove("vocab.txt");
  folder.write("tokenizer.json", tokenizer.dump());
  read();
  BOOST_TEST(corrupt_file("tokenizer.json", tokenizer.dump()) > 0);
}

BOOST_AUTO_TEST_SUITE_END()
