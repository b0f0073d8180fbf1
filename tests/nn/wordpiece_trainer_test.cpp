// Learning a WordPiece vocabulary: merges worked out by hand, equal bytes whatever the order of the words,
// and files that the tokenizer reads back.

#include "nn/wordpiece_trainer.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <set>

#include "nn/tokenizer.h"
#include "nn/vocabulary.h"
#include "tests/file_helpers.h"

namespace normtune {

using testing::TemporaryFolder;
using Pieces = std::vector<std::string>;

namespace {

/// The vocabulary without its special tokens.
Pieces learned(const WordCounts& counts, int64_t vocab_size, WordPieceTraining settings = {}) {
  settings.vocab_size = vocab_size;
  const Pieces vocabulary = train_wordpiece(counts, settings);
  BOOST_REQUIRE(vocabulary.size() >= 5);
  BOOST_TEST((Pieces(vocabulary.begin(), vocabulary.begin() + 5) ==
              Pieces{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}));
  return Pieces(vocabulary.begin() + 5, vocabulary.end());
}

WordCounts count(const std::string& text, bool lowercase = true) {
  WordCounter counter({.strip_accents = lowercase, .lowercase = lowercase});
  counter.add(text);
  return counter.counts();
}

bool is_error(const auto& action, ErrorKind kind, const std::string& part) {
  try {
    action();
  } catch (const Error& error) {
    BOOST_TEST_MESSAGE(error.what());
    return error.kind() == kind && std::string(error.what()).find(part) != std::string::npos;
  }
  return false;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(wordpiece_trainer)

BOOST_AUTO_TEST_CASE(words_are_counted_as_the_tokenizer_sees_them) {
  const WordCounts counts = count("The cat, the CAT; n\u00E4he");
  BOOST_TEST(counts.at("the") == 2);
  BOOST_TEST(counts.at("cat") == 2);
  BOOST_TEST(counts.at("nahe") == 1);
  BOOST_TEST(counts.at(",") == 1);
  BOOST_TEST(count("The the", false).at("The") == 1);
}

BOOST_AUTO_TEST_CASE(the_most_frequent_pair_is_merged_first) {
  // ##u ##g 20, h ##u 15, p ##u 17 (12 + 5), ##u ##n 16 (12 + 4), b ##u 4, ##g ##s 5
  const WordCounts counts = {{"hug", 10}, {"pug", 5}, {"pun", 12}, {"bun", 4}, {"hugs", 5}};
  const Pieces characters = {"b",   "g",   "h",   "n",   "p",   "s",   "u",
                             "##b", "##g", "##h", "##n", "##p", "##s", "##u"};
  Pieces expected = characters;
  BOOST_TEST((learned(counts, 19) == expected));
  expected.push_back("##ug");  // 20
  BOOST_TEST((learned(counts, 20) == expected));
  expected.push_back("##un");  // 16; p ##u is down to 12, h ##u to 0
  BOOST_TEST((learned(counts, 21) == expected));
  expected.push_back("hug");  // 15
  BOOST_TEST((learned(counts, 22) == expected));
  expected.push_back("pun");   // 12
  expected.push_back("hugs");  // 5: hug ##s before p ##ug by byte order
  expected.push_back("pug");   // 5
  expected.push_back("bun");   // 4
  BOOST_TEST((learned(counts, 26) == expected));
  // Nothing is left to merge.
  BOOST_TEST((learned(counts, 1000) == expected));
}

BOOST_AUTO_TEST_CASE(repeated_pieces_are_merged_from_the_left) {
  // b ##a ##a ##a: ##a ##a occurs twice but only the left pair is merged.
  const Pieces pieces = learned({{"baaa", 3}}, 100);
  BOOST_TEST((Pieces(pieces.begin() + 4, pieces.end()) == Pieces{"##aa", "##aaa", "baaa"}));
}

BOOST_AUTO_TEST_CASE(two_ways_to_one_piece_give_it_once) {
  const WordCounts counts = {{"abc", 10}, {"xbc", 9}, {"abd", 30}, {"ab", 40}, {"zabc", 3}, {"zab", 8}};
  const Pieces pieces = learned(counts, 200);
  BOOST_TEST(std::set<std::string>(pieces.begin(), pieces.end()).size() == pieces.size());
  for (const auto& [word, frequency] : counts) {
    BOOST_TEST(std::count(pieces.begin(), pieces.end(), word) == 1);
  }
}

BOOST_AUTO_TEST_CASE(rare_pairs_stay_apart) {
  BOOST_TEST((learned({{"ab", 1}}, 100) == Pieces{"a", "b", "##a", "##b"}));
  const Pieces merged = learned({{"ab", 1}}, 100, {.min_frequency = 1});
  BOOST_TEST(merged.back() == "ab");
}

BOOST_AUTO_TEST_CASE(the_order_of_the_words_changes_nothing) {
  std::vector<std::string> words;
  for (int i = 0; i < 400; ++i) {
    std::string word;
    for (int j = 0; j < 3 + i % 5; ++j) word += static_cast<char>('a' + (i * 7 + j * j * 3 + i * j) % 9);
    words.push_back(word);
  }
  WordCounts forward, backward;
  for (size_t i = 0; i < words.size(); ++i) forward[words[i]] += static_cast<int64_t>(1 + i % 3);
  backward.reserve(4096);
  for (size_t i = words.size(); i-- > 0;) backward[words[i]] += static_cast<int64_t>(1 + i % 3);
  BOOST_TEST((learned(forward, 300) == learned(backward, 300)));
}

BOOST_AUTO_TEST_CASE(the_rarest_characters_are_left_out) {
  const WordCounts counts = {{"aa", 5}, {"bb", 3}, {"qa", 1}};
  const Pieces pieces = learned(counts, 100, {.max_alphabet = 2});
  BOOST_TEST((pieces == Pieces{"a", "b", "##a", "##b", "aa", "bb"}));
}

BOOST_AUTO_TEST_CASE(punctuation_does_not_continue_words) {
  const Pieces pieces = learned({{"a", 2}, {".", 5}, {"\u4E00", 3}}, 100);
  BOOST_TEST((pieces == Pieces{".", "a", "\u4E00", "##a"}));
}

BOOST_AUTO_TEST_CASE(too_small_a_vocabulary_and_no_text_are_errors) {
  const WordCounts counts = {{"abc", 2}};
  BOOST_TEST(is_error([&] { train_wordpiece(counts, {.vocab_size = 10}); }, ErrorKind::usage,
                      "--vocab_size: expected at least 11"));
  BOOST_TEST(train_wordpiece(counts, {.vocab_size = 11}).size() == 11);
  BOOST_TEST(is_error([] { train_wordpiece({}, {}); }, ErrorKind::data, "found no word"));
}

BOOST_AUTO_TEST_CASE(the_tokenizer_reads_what_was_learned) {
  const std::string text =
      "The unhappy painter painted happily. Painters paint; the unpainted paintings were unhappily "
      "repainted!";
  for (const bool lowercase : {true, false}) {
    const Pieces vocabulary = train_wordpiece(count(text, lowercase), {.vocab_size = 80});
    const TemporaryFolder folder;
    write_wordpiece_files(folder.path(), vocabulary, lowercase, 64);
    BOOST_TEST((read_vocabulary(folder / "vocab.txt") == vocabulary));
    // tokenizer.json and vocab.txt are held against each other by the reader.
    const Tokenizer tokenizer = Tokenizer::from_folder(folder.path());
    BOOST_TEST(tokenizer.warnings().empty());
    BOOST_TEST(tokenizer.do_lower_case() == lowercase);
    BOOST_TEST(tokenizer.vocab_size() == static_cast<int64_t>(vocabulary.size()));
    std::string joined;
    for (const std::string& piece : tokenizer.tokenize(text)) {
      BOOST_TEST(piece != "[UNK]");
      joined += piece.starts_with("##") ? piece.substr(2) : piece;
    }
    std::string without_blanks;
    for (const char character : text) {
      if (character != ' ') {
        without_blanks += lowercase ? static_cast<char>(std::tolower(character)) : character;
      }
    }
    BOOST_TEST(joined == without_blanks);
  }
}

BOOST_AUTO_TEST_CASE(special_tokens_come_first) {
  BOOST_TEST((with_special_tokens(Pieces{"walk", "##s"}) ==
              Pieces{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "walk", "##s"}));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
