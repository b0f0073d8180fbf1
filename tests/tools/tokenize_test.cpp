#include <boost/test/unit_test.hpp>

#include "tests/tools/support.h"

using namespace normtune::test;

namespace {

struct TokenizeFixture {
  TemporaryFolder folder;
  TokenizeFixture() { write_tiny_model(folder.path(), {.weights = false}); }

  Outcome tokenize(std::string input, std::vector<std::string> options = {}) const {
    options.insert(options.begin(), {"tokenize", folder.path().string()});
    return run_normtune(options, std::move(input));
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(tokenize, TokenizeFixture)

BOOST_AUTO_TEST_CASE(one_object_per_line) {
  const Outcome outcome = tokenize("Hello, world\n\ncats");
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.out ==
             "{\"input_ids\":[2,18,17,19,3],\"token_type_ids\":[0,0,0,0,0]}\n"
             "{\"input_ids\":[2,3],\"token_type_ids\":[0,0]}\n"
             "{\"input_ids\":[2,7,13,3],\"token_type_ids\":[0,0,0,0]}\n");
  BOOST_TEST(tokenize("").out == "");
  BOOST_TEST(tokenize("Hello, world\n\ncats\n", {"--json"}).out == outcome.out);
}

BOOST_AUTO_TEST_CASE(pairs_and_tokens) {
  const Outcome outcome = tokenize("the cat\tthe dog\na\t\n", {"--pair", "--tokens"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.out ==
             "{\"input_ids\":[2,5,7,3,5,8,3],\"token_type_ids\":[0,0,0,0,1,1,1],"
             "\"tokens\":[\"[CLS]\",\"the\",\"cat\",\"[SEP]\",\"the\",\"dog\",\"[SEP]\"]}\n"
             "{\"input_ids\":[2,6,3,3],\"token_type_ids\":[0,0,0,1],\"tokens\":[\"[CLS]\",\"a\",\"[SEP]\",\"["
             "SEP]\"]}\n");
}

BOOST_AUTO_TEST_CASE(json_lines) {
  const Outcome outcome = tokenize(
      "\"the\\tcat\"\n{\"text\":\"a\",\"text_pair\":\"dog\",\"idx\":3}\n{\"text\":\"a\",\"text_pair\":null}"
      "\n",
      {"--jsonl"});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.out ==
             "{\"input_ids\":[2,5,7,3],\"token_type_ids\":[0,0,0,0]}\n"
             "{\"input_ids\":[2,6,3,8,3],\"token_type_ids\":[0,0,0,1,1]}\n"
             "{\"input_ids\":[2,6,3],\"token_type_ids\":[0,0,0]}\n");
}

BOOST_AUTO_TEST_CASE(malformed_lines_are_named_and_those_before_answered) {
  const Outcome pair = tokenize("a\tb\na\n", {"--pair"});
  BOOST_TEST(pair.exit_code == 4);
  BOOST_TEST(
      pair.last_error_line() ==
      "normtune: error: standard input, line 2: expected two texts with one TAB between them, found 0 TABs");
  BOOST_TEST(std::count(pair.out.begin(), pair.out.end(), '\n') == 1);
  BOOST_TEST(tokenize("a\tb\tc\n", {"--pair"}).exit_code == 4);
  const Outcome bytes = tokenize("a\na\xff\n", {});
  BOOST_TEST(bytes.exit_code == 4);
  BOOST_TEST(bytes.last_error_line().starts_with("normtune: error: standard input, line 2: expected UTF-8"));
  BOOST_TEST(std::count(bytes.out.begin(), bytes.out.end(), '\n') == 1);
  for (const char* line : {"3", "{}", "{\"text\":1}", "{\"text\":\"a\",\"text_pair\":[]}", "\"a", ""}) {
    const Outcome outcome = tokenize(std::string("\"a\"\n\"b\"\n") + line + "\n", {"--jsonl"});
    BOOST_TEST(outcome.exit_code == 4, line);
    BOOST_TEST(contains(outcome.last_error_line(), "normtune: error: standard input, line 3"), outcome.err);
  }
}

BOOST_AUTO_TEST_CASE(longest_input) {
  BOOST_TEST(tokenize("the cat runs\n").out ==
             "{\"input_ids\":[2,5,7,9,3],\"token_type_ids\":[0,0,0,0,0]}\n");
  BOOST_TEST(tokenize("the cat runs\n", {"--max_seq_length", "4"}).out ==
             "{\"input_ids\":[2,5,7,3],\"token_type_ids\":[0,0,0,0]}\n");
  BOOST_TEST(tokenize("", {"--max_seq_length", "1"}).exit_code == 2);
  BOOST_TEST(tokenize("", {"--max_seq_length", "2", "--pair"}).exit_code == 2);
  const Outcome outcome = tokenize("", {"--max_seq_length", "33"});
  BOOST_TEST(outcome.exit_code == 2);
  BOOST_TEST(outcome.last_error_line() ==
             "normtune: error: --max_seq_length: expected at most the model's 32 positions, found 33");
  BOOST_TEST(tokenize("", {"--pair", "--jsonl"}).exit_code == 2);
}

BOOST_AUTO_TEST_CASE(many_lines_keep_their_order_for_any_number_of_threads) {
  std::string input;
  for (int i = 0; i < 20000; ++i)
    input += std::string(static_cast<size_t>(i % 7), 'a') + " cat\tthe dog runs.\n";
  const Outcome one = tokenize(input, {"--pair", "--num_threads", "1"});
  const Outcome three = tokenize(input, {"--pair", "--num_threads", "3"});
  BOOST_TEST(one.exit_code == 0);
  BOOST_TEST(std::count(one.out.begin(), one.out.end(), '\n') == 20000);
  BOOST_TEST((one.out == three.out));
}

BOOST_AUTO_TEST_CASE(a_folder_without_tokenizer_is_an_error) {
  const TemporaryFolder empty;
  const Outcome outcome = run_normtune({"tokenize", empty.path().string()}, "a\n");
  BOOST_TEST(outcome.exit_code == 3);
  BOOST_TEST(outcome.out == "");
  BOOST_TEST(run_normtune({"tokenize"}, "a\n").exit_code == 2);
}

BOOST_AUTO_TEST_CASE(output_that_cannot_be_written_is_an_error) {
  for (const OutputTo output_to : {OutputTo::closed, OutputTo::full_device, OutputTo::broken_pipe}) {
    const Outcome outcome = run_normtune(
        Call{.arguments = {"tokenize", folder.path().string()}, .input = "a\n", .output_to = output_to});
    BOOST_TEST(outcome.exit_code == 7);
    BOOST_TEST(outcome.last_error_line().starts_with("normtune: error: cannot write to standard output: "),
               outcome.err);
    BOOST_TEST(run_normtune(Call{.arguments = {"--help"}, .output_to = output_to}).exit_code == 7);
  }
}

BOOST_AUTO_TEST_SUITE_END()
