#include <fmt/format.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "tests/tools/support.h"

using namespace normtune::test;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(pocket)

BOOST_AUTO_TEST_CASE(writes_the_same_files_for_the_same_seed) {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, const std::string& seed) {
    return run_normtune(
        {"pocket", "--seed", seed, "--corpus_pairs", "50", "--output_dir", (folder / name).string()});
  };
  for (const auto& [name, seed] : {std::pair{"a", "1"}, std::pair{"b", "1"}, std::pair{"c", "2"}}) {
    const Outcome outcome = write(name, seed);
    BOOST_TEST(outcome.exit_code == 0, outcome.err);
    BOOST_TEST(outcome.out.find("corpus.txt and ") != std::string::npos);
  }
  for (const char* file : {"corpus.txt", "glue/row_counts.tsv", "glue/CoLA/train.tsv", "glue/SST-2/dev.tsv",
                           "glue/MRPC/test.tsv", "glue/STS-B/test_labelled.tsv", "glue/RTE/dev.tsv"}) {
    BOOST_TEST(read_text((folder / "a" / file).string()) == read_text((folder / "b" / file).string()), file);
  }
  BOOST_TEST(read_text((folder / "a/corpus.txt").string()) != read_text((folder / "c/corpus.txt").string()));
}

BOOST_AUTO_TEST_CASE(tells_what_a_bag_of_words_reaches) {
  const TemporaryFolder folder;
  const Outcome outcome = run_normtune({"pocket", "--corpus_pairs", "5", "--bag_of_words", "--json",
                                        "--output_dir", (folder / "out").string()});
  BOOST_TEST(outcome.exit_code == 0, outcome.err);
  const nlohmann::json scores = outcome.json()["bag_of_words"];
  BOOST_REQUIRE(scores.size() == 5u);
  BOOST_TEST(scores[0]["task"] == "cola");
  BOOST_TEST(scores[0]["dev_overlap"].is_null());
  BOOST_TEST(scores[2]["test_labelled_overlap"].is_number());
  // 5 rows of counts, 3 of them again with overlap
  const std::string baselines = read_text((folder / "out/bag_of_words.csv").string());
  BOOST_TEST(std::count(baselines.begin(), baselines.end(), '\n') == 9);
  BOOST_TEST(baselines.find(fmt::format("\nbag of words with overlap,mrpc,{},",
                                        scores[2]["test_labelled_overlap"].get<double>())) !=
             std::string::npos);
}

BOOST_AUTO_TEST_CASE(an_output_that_cannot_be_written) {
  const TemporaryFolder folder;
  const std::string file = (folder / "file").string();
  write_text(file, "x");
  const Outcome outcome = run_normtune({"pocket", "--output_dir", file});
  BOOST_TEST(outcome.exit_code == 7);
  BOOST_TEST(outcome.err.find(file) != std::string::npos, outcome.err);
  BOOST_TEST(run_normtune({"pocket"}).exit_code == 2);
}

BOOST_AUTO_TEST_CASE(guards_its_output_folder) {
  const TemporaryFolder folder;
  const std::string output = (folder / "out").string();
  const std::vector<std::string> arguments = {"pocket", "--corpus_pairs", "5", "--output_dir", output};
  BOOST_TEST(run_normtune(arguments).exit_code == 0);
  write_text(fs::path(output) / "corpus.txt", "mine");
  write_text(fs::path(output) / "bag_of_words.csv", "of other tasks");
  const Outcome again = run_normtune(arguments);
  BOOST_TEST(again.exit_code == 2, again.err);
  BOOST_TEST(again.last_error_line().find("--overwrite_output_dir") != std::string::npos, again.err);
  BOOST_CHECK(read_text(fs::path(output) / "corpus.txt") == "mine");
  std::vector<std::string> overwriting = arguments;
  overwriting.emplace_back("--overwrite_output_dir");
  BOOST_TEST(run_normtune(overwriting).exit_code == 0);
  BOOST_CHECK(read_text(fs::path(output) / "corpus.txt") != "mine");
  BOOST_TEST(!fs::exists(fs::path(output) / "bag_of_words.csv"));
}

BOOST_AUTO_TEST_SUITE_END()
