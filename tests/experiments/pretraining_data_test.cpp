// Text becomes documents, windows, pairs and masks: what every example may hold, how often, and that it is a
// pure function of its place.

#include "experiments/pretraining_data.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>

#include "experiments/masking.h"
#include "tests/experiments/fixtures.h"
#include "tests/experiments/tiny_run.h"

namespace normtune {

using fixtures::check_error_parts;
using fixtures::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

/// A tokenizer whose words are w0 ... w399 with pieces "##s", and a full stop.
struct NumberedWords {
  TemporaryFolder folder;
  Tokenizer tokenizer = make();

  Tokenizer make() const {
    std::string lines = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n##s\n##ed\n";
    for (int i = 0; i < 400; ++i) lines += fmt::format("w{}q\n", i);
    folder.write("vocab.txt", lines);
    folder.write("tokenizer_config.json", R"({"do_lower_case": true})");
    return Tokenizer::from_folder(folder.path());
  }
  int32_t id(int word) const { return 8 + word; }

  /// Documents of consecutive numbers: document d holds the words [100 d, 100 d + lengths[d]).
  fs::path write_documents(const std::string& name, const std::vector<int>& lengths) const {
    std::string text;
    for (size_t d = 0; d < lengths.size(); ++d) {
      for (int i = 0; i < lengths[d]; ++i) {
        text += fmt::format("w{}q{}", 100 * static_cast<int>(d) + i, i % 10 == 9 ? "\n" : " ");
      }
      text += "\n\n";
    }
    return folder.write(name, text);
  }
};

bool are_consecutive(std::span<const int32_t> ids) {
  return std::adjacent_find(ids.begin(), ids.end(), [](int32_t a, int32_t b) { return b != a + 1; }) ==
         ids.end();
}

/// The two texts of an example without special tokens.
struct Parts {
  std::vector<int32_t> first, second;
};

Parts parts_of(const PretrainingExample& example) {
  Parts parts;
  for (size_t i = 0; i < example.input_ids.size(); ++i) {
    const int32_t id = example.input_ids[i];
    if (id != 2 && id != 3) (example.token_type_ids[i] == 0 ? parts.first : parts.second).push_back(id);
  }
  return parts;
}

bool equal(const PretrainingExample& a, const PretrainingExample& b) {
  return a.input_ids == b.input_ids && a.token_type_ids == b.token_type_ids &&
         a.next_sentence_label == b.next_sentence_label;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pretraining_data)

BOOST_AUTO_TEST_CASE(paragraphs_and_documents) {
  const NumberedWords words;
  const fs::path a = words.folder.write("a.txt", "\xEF\xBB\xBFw1q w2q\r\n\tw3q \n\n \n\nw4q");
  const fs::path b = words.folder.write("b.txt", "w5q\n");
  std::vector<std::pair<bool, std::string>> found;
  read_paragraphs(std::vector{a, b},
                  [&](bool begins, std::string_view text) { found.emplace_back(begins, text); });
  const std::vector<std::pair<bool, std::string>> expected = {
      {true, "w1q w2q"}, {false, "w3q"}, {true, "w4q"}, {true, "w5q"}};
  BOOST_CHECK(found == expected);

  const DocumentText text(std::vector{a, b}, words.tokenizer);
  BOOST_TEST(text.num_documents() == 3);
  const std::vector<int32_t> tokens(text.tokens().begin(), text.tokens().end());
  BOOST_TEST(tokens == (std::vector<int32_t>{9, 10, 11, 3, 12, 3, 13, 3}), boost::test_tools::per_element());
  BOOST_TEST(text.document_begin(1) == 4);
  BOOST_TEST(text.document_end(1) == 5);
  BOOST_TEST(text.document_of(3) == 0);
  BOOST_TEST(text.document_of(4) == 1);
}

BOOST_AUTO_TEST_CASE(malformed_text) {
  const TemporaryFolder folder;
  const auto read = [](const fs::path& file) {
    read_paragraphs(std::vector{file}, [](bool, std::string_view) {});
  };
  check_error_parts(ErrorKind::data, {"latin.txt, line 3", "expected UTF-8"},
                    [&] { read(folder.write("latin.txt", "one\n\nna\xEFve\n")); });
  check_error_parts(ErrorKind::data, {"empty.txt", "expected text"},
                    [&] { read(folder.write("empty.txt", "")); });
  check_error_parts(ErrorKind::data, {"blank.txt", "expected text"},
                    [&] { read(folder.write("blank.txt", "\n \n\t\n")); });
  check_error_parts(ErrorKind::data, {"missing.txt"}, [&] { read(folder / "missing.txt"); });
}

BOOST_AUTO_TEST_CASE(sentences_begin_behind_full_stops_and_at_paragraphs) {
  const NumberedWords words;
  //                                              0   1 2   3   4   5 6     (tokens)
  const fs::path file = words.folder.write("text", "w1q . w2q w3q\nw4q . w5q w6q w7q w8q\n");
  const DocumentText text(std::vector{file}, words.tokenizer);
  const auto nearest = [&](int64_t position, int64_t low, int64_t high) {
    return text.nearest_sentence_begin(position, low, high);
  };
  BOOST_TEST(nearest(1, 1, 6) == 2);
  BOOST_TEST(nearest(3, 1, 6) == 2);  // as near as 4, and before it
  BOOST_TEST(nearest(3, 3, 6) == 4);
  BOOST_TEST(nearest(5, 5, 6) == 6);
  BOOST_TEST(nearest(8, 7, 9) == 8);  // there is none
}

BOOST_AUTO_TEST_CASE(pairs_are_continuations_or_come_from_another_document) {
  const NumberedWords words;
  const fs::path file = words.write_documents("text", {95, 40, 7, 80});
  const DocumentText text(std::vector{file}, words.tokenizer);
  const DocumentDataset data(text, words.tokenizer, {.max_seq_length = 23, .seed = 5});
  BOOST_TEST(data.size() == 5 + 2 + 1 + 4);
  int wrong = 0, right = 0;
  std::set<int32_t> seen;
  for (int64_t epoch = 0; epoch < 100; ++epoch) {
    for (int64_t i = 0; i < data.size(); ++i) {
      const PretrainingExample example = data.example(epoch, i);
      BOOST_REQUIRE(equal(example, data.example(epoch, i)));
      BOOST_REQUIRE(example.input_ids.size() <= 23 &&
                    example.input_ids.size() == example.token_type_ids.size());
      BOOST_REQUIRE(example.input_ids.front() == 2 && example.input_ids.back() == 3);
      BOOST_REQUIRE_EQUAL(std::count(example.input_ids.begin(), example.input_ids.end(), 3), 2);
      BOOST_REQUIRE(std::is_sorted(example.token_type_ids.begin(), example.token_type_ids.end()));
      const Parts parts = parts_of(example);
      BOOST_REQUIRE(!parts.first.empty() && !parts.second.empty());
      BOOST_REQUIRE(are_consecutive(parts.first) && are_consecutive(parts.second));
      const int first_document = (parts.first[0] - 8) / 100, second_document = (parts.second[0] - 8) / 100;
      if (example.next_sentence_label == 0) {
        BOOST_REQUIRE_EQUAL(parts.second.front(), parts.first.back() + 1);
        const bool is_whole_window = parts.first.size() + parts.second.size() == 20 || first_document == 2;
        BOOST_REQUIRE(is_whole_window);
        ++right;
      } else {
        BOOST_REQUIRE_EQUAL(example.next_sentence_label, 1);
        BOOST_REQUIRE(first_document != second_document);
        ++wrong;
      }
      seen.insert(parts.first.begin(), parts.first.end());
      seen.insert(parts.second.begin(), parts.second.end());
    }
  }
  // 1200 draws: five standard deviations are 87.
  BOOST_TEST(std::abs(wrong - right) < 174);
  BOOST_TEST(seen.size() == 95 + 40 + 7 + 80);
}

BOOST_AUTO_TEST_CASE(the_share_of_wrong_pairs_is_chosen) {
  const NumberedWords words;
  const fs::path file = words.write_documents("text", {95, 95});
  const DocumentText text(std::vector{file}, words.tokenizer);
  for (const double share : {0.0, 1.0}) {
    const DocumentDataset data(text, words.tokenizer, {.max_seq_length = 23, .wrong_pair_share = share});
    for (int64_t i = 0; i < data.size(); ++i) {
      BOOST_TEST(data.example(3, i).next_sentence_label == static_cast<int>(share));
    }
  }
}

BOOST_AUTO_TEST_CASE(one_document_gives_wrong_pairs_from_far_places) {
  const NumberedWords words;
  const fs::path file = words.write_documents("text", {99});
  const DocumentText text(std::vector{file}, words.tokenizer);
  const DocumentDataset data(text, words.tokenizer, {.max_seq_length = 23, .wrong_pair_share = 1});
  for (int64_t epoch = 0; epoch < 50; ++epoch) {
    for (int64_t i = 0; i < data.size(); ++i) {
      const Parts parts = parts_of(data.example(epoch, i));
      const int32_t begin = parts.first.front(), end = begin + 20;  // of the window
      BOOST_REQUIRE(parts.second.back() < begin || parts.second.front() >= end);
    }
  }
  const DocumentText short_text(std::vector{words.write_documents("short", {50})}, words.tokenizer);
  check_error_parts(ErrorKind::data, {"two documents", "--no_nsp"},
                    [&] { DocumentDataset(short_text, words.tokenizer, {.max_seq_length = 23}); });
}

BOOST_AUTO_TEST_CASE(the_cut_of_a_pair_is_at_a_sentence) {
  const NumberedWords words;
  std::string lines;
  for (int d = 0; d < 2; ++d) {
    for (int i = 0; i < 60; ++i) lines += i % 3 == 2 ? ". " : fmt::format("w{}q ", 100 * d + i);
    lines += "\n\n";
  }
  const DocumentText text(std::vector{words.folder.write("text", lines)}, words.tokenizer);
  const DocumentDataset data(text, words.tokenizer, {.max_seq_length = 23, .wrong_pair_share = 0});
  for (int64_t i = 0; i < data.size(); ++i) {
    BOOST_TEST(parts_of(data.example(0, i)).first.back() == 5);  // the full stop
  }
}

BOOST_AUTO_TEST_CASE(single_segments_fill_the_length) {
  const NumberedWords words;
  const fs::path file = words.write_documents("text", {40, 40, 40});
  const DocumentText text(std::vector{file}, words.tokenizer);
  const DocumentDataset data(text, words.tokenizer, {.max_seq_length = 22, .next_sentence = false});
  BOOST_TEST(data.size() == 7);  // 123 tokens in windows of 20
  std::set<int32_t> seen;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    for (int64_t i = 0; i < data.size(); ++i) {
      const PretrainingExample example = data.example(epoch, i);
      BOOST_TEST((example.input_ids.size() == 22 || example.input_ids.size() == 21));
      BOOST_TEST(example.next_sentence_label == -1);
      BOOST_TEST(std::count(example.token_type_ids.begin(), example.token_type_ids.end(), 0) ==
                 static_cast<std::ptrdiff_t>(example.input_ids.size()));
      seen.insert(example.input_ids.begin(), example.input_ids.end());
    }
  }
  BOOST_TEST(seen.size() == 122);  // all words, [CLS] and [SEP]
  BOOST_TEST(!equal(data.example(0, 3), data.example(1, 3)));
}

BOOST_AUTO_TEST_CASE(a_corpus_is_encoded_as_it_is_asked) {
  struct Toy final : PretrainingCorpus {
    int64_t size() const override { return 3; }
    CorpusExample example(int64_t epoch, int64_t index) const override {
      if (index == 0) return {.text = fmt::format("w{}q w1q", epoch), .text_pair = "", .wrong_pair = false};
      return {.text = "w2q w3q", .text_pair = "w4q w5q w6q", .wrong_pair = index == 2};
    }
    std::string identity() const override { return "toy"; }
  };
  const NumberedWords words;
  const Toy toy;
  const CorpusDataset data(toy, words.tokenizer, 7);
  BOOST_TEST(data.size() == 3);
  BOOST_TEST(data.example(4, 0).input_ids == (std::vector<int32_t>{2, 12, 9, 3}));
  BOOST_TEST(data.example(4, 0).next_sentence_label == -1);
  BOOST_TEST(data.example(0, 1).input_ids == (std::vector<int32_t>{2, 10, 11, 3, 12, 13, 3}));
  BOOST_TEST(data.example(0, 1).token_type_ids == (std::vector<int32_t>{0, 0, 0, 0, 1, 1, 1}));
  BOOST_TEST(data.example(0, 1).next_sentence_label == 0);
  BOOST_TEST(data.example(0, 2).next_sentence_label == 1);
}

namespace {

/// [CLS], 60 words of which every third has a piece "##s" behind it, [SEP]: 80 ordinary tokens.
PretrainingExample long_example() {
  PretrainingExample example{.input_ids = {2}, .token_type_ids = {}};
  for (int32_t i = 0; i < 60; ++i) {
    example.input_ids.push_back(8 + i);
    if (i % 3 == 2) example.input_ids.push_back(6);
  }
  example.input_ids.push_back(3);
  example.token_type_ids.assign(example.input_ids.size(), 0);
  return example;
}

}  // namespace

BOOST_AUTO_TEST_CASE(masks_hide_the_share_that_was_asked_for) {
  const NumberedWords words;
  const PretrainingExample example = long_example();
  for (const bool whole_words : {false, true}) {
    const Masking masking(words.tokenizer, {.whole_word_mask = whole_words, .seed = 3});
    std::map<std::string, int> kinds;
    std::vector<int> counts(example.input_ids.size());
    for (int64_t index = 0; index < 1000; ++index) {
      const MaskedExample masked = masking.mask(example, 0, index);
      BOOST_REQUIRE(masked.positions.size() == masked.labels.size());
      BOOST_REQUIRE(std::is_sorted(masked.positions.begin(), masked.positions.end()));
      BOOST_REQUIRE_EQUAL(masked.positions.size(), 12);  // 15 % of 80
      std::set<int32_t> hidden(masked.positions.begin(), masked.positions.end());
      for (size_t i = 0; i < example.input_ids.size(); ++i) {
        const int32_t before = example.input_ids[i], after = masked.example.input_ids[i];
        if (!hidden.contains(static_cast<int32_t>(i))) {
          BOOST_REQUIRE_EQUAL(before, after);
          continue;
        }
        BOOST_REQUIRE(before != 2 && before != 3);
        BOOST_REQUIRE(after == 4 || after >= 5);  // no special token but [MASK]
        ++counts[i];
        ++kinds[after == 4 ? "mask" : after == before ? "same" : "random"];
        if (whole_words && before == 6) BOOST_REQUIRE(hidden.contains(static_cast<int32_t>(i) - 1));
        if (whole_words && i + 1 < example.input_ids.size() && example.input_ids[i + 1] == 6) {
          BOOST_REQUIRE(hidden.contains(static_cast<int32_t>(i) + 1));
        }
      }
      for (size_t i = 0; i < masked.positions.size(); ++i) {
        BOOST_REQUIRE_EQUAL(masked.labels[i], example.input_ids[static_cast<size_t>(masked.positions[i])]);
      }
    }
    // 12,000 draws: five standard deviations are 219 and 164 (a random token is the old one once in 403).
    BOOST_CHECK(std::abs(kinds["mask"] - 9600) <= 219);
    BOOST_CHECK(std::abs(kinds["random"] - 1197) <= 164);
    BOOST_CHECK(std::abs(kinds["same"] - 1203) <= 164);
    // Every token is hidden about 150 times (five standard deviations: 57).
    for (size_t i = 1; i + 1 < counts.size(); ++i) BOOST_CHECK(std::abs(counts[i] - 150) <= 60);
  }
}

BOOST_AUTO_TEST_CASE(masks_are_a_function_of_seed_epoch_and_example) {
  const NumberedWords words;
  const auto positions = [&](uint64_t seed, int64_t epoch, int64_t index) {
    return Masking(words.tokenizer, {.seed = seed}).mask(long_example(), epoch, index).positions;
  };
  BOOST_CHECK(positions(1, 2, 3) == positions(1, 2, 3));
  BOOST_CHECK(positions(1, 2, 3) != positions(2, 2, 3));
  BOOST_CHECK(positions(1, 2, 3) != positions(1, 3, 3));
  BOOST_CHECK(positions(1, 2, 3) != positions(1, 2, 4));
}

BOOST_AUTO_TEST_CASE(short_examples_have_one_mask_and_unknown_ones_none) {
  const NumberedWords words;
  const Masking masking(words.tokenizer, {.whole_word_mask = true});
  const auto mask = [&](std::vector<int32_t> ids) {
    PretrainingExample example{.input_ids = ids, .token_type_ids = std::vector<int32_t>(ids.size())};
    return masking.mask(std::move(example), 0, 0).positions;
  };
  BOOST_TEST(mask({2, 8, 3}) == (std::vector<int32_t>{1}));
  BOOST_TEST(mask({2, 8, 6, 7, 3}) == (std::vector<int32_t>{1, 2, 3}));  // one word, longer than the share
  BOOST_TEST(mask({2, 1, 1, 3}).empty());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
