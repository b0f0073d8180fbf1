#include "experiments/submission.h"

#include <zip.h>

#include <boost/test/unit_test.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;
using fixtures::content_of;
using fixtures::TemporaryFolder;

namespace {

Dataset dataset_of(const Task& task, const std::string& split, size_t rows) {
  Dataset dataset{.task = task.name,
                  .split = split,
                  .label_names = task.label_names,
                  .regression = task.regression,
                  .labelled = false};
  for (size_t i = 0; i < rows; ++i)
    dataset.examples.push_back({.sentence1 = "a", .idx = static_cast<int64_t>(i)});
  return dataset;
}

std::string written(const Task& task, const std::string& split, const std::vector<double>& logits) {
  const TemporaryFolder folder;
  const auto rows = logits.size() / static_cast<size_t>(task.num_labels);
  return content_of(write_predictions(task, dataset_of(task, split, rows), logits, folder.path()));
}

std::map<std::string, std::string> unzip(const std::filesystem::path& file) {
  int error = 0;
  zip_t* archive = zip_open(file.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &error);
  BOOST_REQUIRE(archive != nullptr);
  std::map<std::string, std::string> contents;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); ++i) {
    zip_stat_t stat;
    BOOST_REQUIRE(zip_stat_index(archive, static_cast<zip_uint64_t>(i), 0, &stat) == 0);
    std::string content(stat.size, '\0');
    zip_file_t* entry = zip_fopen_index(archive, static_cast<zip_uint64_t>(i), 0);
    BOOST_TEST(zip_fread(entry, content.data(), content.size()) == static_cast<zip_int64_t>(content.size()));
    zip_fclose(entry);
    contents[stat.name] = content;
  }
  zip_discard(archive);
  return contents;
}

std::string rows_of(int64_t rows, const std::string& value) {
  std::string content = "index\tprediction\n";
  for (int64_t i = 0; i < rows; ++i) content += fmt::format("{}\t{}\n", i, value);
  return content;
}

int64_t lines_of(const std::string& content) {
  return std::count(content.begin(), content.end(), '\n');
}

}  // namespace

BOOST_AUTO_TEST_SUITE(submission)

BOOST_AUTO_TEST_CASE(file_names) {
  BOOST_TEST(prediction_file_name(find_task("cola"), "test") == "CoLA.tsv");
  BOOST_TEST(prediction_file_name(find_task("cola"), "dev") == "CoLA.dev.tsv");
  BOOST_TEST(prediction_file_name(find_task("cola"), "test_labelled") == "CoLA.test_labelled.tsv");
  BOOST_TEST(prediction_file_name(find_task("mnli"), "test_matched") == "MNLI-m.tsv");
  BOOST_TEST(prediction_file_name(find_task("mnli"), "test_mismatched") == "MNLI-mm.tsv");
  BOOST_TEST(prediction_file_name(find_task("ax"), "test") == "AX.tsv");
  BOOST_TEST(prediction_file_name(own_task({"a", "b"}, false), "test") == "predictions.tsv");
}

BOOST_AUTO_TEST_CASE(values_that_the_server_takes) {
  BOOST_TEST(written(find_task("cola"), "test", {1, 0, 0, 1}) == "index\tprediction\n0\t0\n1\t1\n");
  BOOST_TEST(written(find_task("rte"), "test", {1, 0, 0, 1}) ==
             "index\tprediction\n0\tentailment\n1\tnot_entailment\n");
  BOOST_TEST(written(find_task("wnli"), "test", {1, 0, 0, 1}) == "index\tprediction\n0\t0\n1\t1\n");
  BOOST_TEST(written(find_task("ax"), "test", {0, 0, 1, 0, 1, 0}) ==
             "index\tprediction\n0\tcontradiction\n1\tneutral\n");
  BOOST_TEST(written(find_task("stsb"), "test", {-0.3, 2.34567, 5.2, -0.0001}) ==
             "index\tprediction\n0\t0.000\n1\t2.346\n2\t5.000\n3\t0.000\n");
  BOOST_TEST(written(own_task({"a", "b"}, false), "test", {0, 1}) == "index\tprediction\n0\tb\n");
  BOOST_TEST(written(own_task({}, true), "test", {-7.25}) == "index\tprediction\n0\t-7.25\n");
}

BOOST_AUTO_TEST_CASE(model_with_another_class_order) {
  const Task& mrpc = find_task("mrpc");
  Dataset dataset = dataset_of(mrpc, "test", 2);
  normtune::map_labels(dataset, {"equivalent", "not_equivalent"});
  const TemporaryFolder folder;
  const auto file = write_predictions(mrpc, dataset, std::vector<double>{1, 0, 0, 1}, folder.path());
  BOOST_TEST(content_of(file) == "index\tprediction\n0\t1\n1\t0\n");
}

BOOST_AUTO_TEST_CASE(logits_are_read_back_bit_for_bit) {
  const TemporaryFolder folder;
  const Dataset dataset = dataset_of(find_task("cola"), "test", 2);
  const std::vector<double> logits = {0.1f, -1.0 / 3.0, 1e-300, 2.0};
  write_logits(dataset, logits, folder / "logits.jsonl");
  const std::string content = content_of(folder / "logits.jsonl");
  BOOST_TEST(content.starts_with("{\"idx\":0,\"logits\":[0.1"));
  BOOST_TEST(lines_of(content) == 2);
  size_t at = 0, begin = 0;
  for (size_t end = content.find('\n'); end != std::string::npos; end = content.find('\n', begin)) {
    const auto line = nlohmann::json::parse(content.substr(begin, end - begin));
    for (double value : line.at("logits")) BOOST_TEST(value == logits[at++]);
    begin = end + 1;
  }
  BOOST_TEST(at == logits.size());
}

BOOST_AUTO_TEST_CASE(zip_with_eleven_files) {
  const TemporaryFolder folder;
  folder.write("a/CoLA.tsv", rows_of(1063, "1"));
  folder.write("a/CoLA.dev.tsv", "not looked at");
  folder.write("b/STS-B.tsv", rows_of(1379, "2.500"));
  const auto report = write_submission({folder / "a", folder / "b"}, folder / "s.zip");
  BOOST_TEST(report.taken.size() == 2u);
  BOOST_TEST(report.filled.size() == 9u);
  BOOST_TEST(report.filled[0] == "SST-2.tsv with 0");
  const auto contents = unzip(folder / "s.zip");
  const std::map<std::string, std::pair<int64_t, std::string>> expected = {
      {"CoLA.tsv", {1063, "1"}},          {"SST-2.tsv", {1821, "0"}},
      {"MRPC.tsv", {1725, "0"}},          {"STS-B.tsv", {1379, "2.500"}},
      {"QQP.tsv", {390965, "0"}},         {"MNLI-m.tsv", {9796, "neutral"}},
      {"MNLI-mm.tsv", {9847, "neutral"}}, {"QNLI.tsv", {5463, "entailment"}},
      {"RTE.tsv", {3000, "entailment"}},  {"WNLI.tsv", {146, "0"}},
      {"AX.tsv", {1104, "neutral"}}};
  BOOST_REQUIRE(contents.size() == expected.size());
  for (const auto& [name, rows_and_value] : expected) {
    BOOST_TEST_CONTEXT(name) {
      BOOST_REQUIRE(contents.contains(name));
      BOOST_TEST((contents.at(name) == rows_of(rows_and_value.first, rows_and_value.second)));
    }
  }
  // Equal predictions give equal bytes.
  write_submission({folder / "a", folder / "b"}, folder / "again.zip");
  BOOST_TEST((content_of(folder / "s.zip") == content_of(folder / "again.zip")));
}

BOOST_AUTO_TEST_CASE(predictions_that_the_server_would_refuse) {
  const TemporaryFolder folder;
  const std::string good = rows_of(146, "0");
  const auto refused = [&](const std::string& content, const std::vector<std::string>& message) {
    folder.write("a/WNLI.tsv", content);
    check_error_parts(ErrorKind::data, message, [&] { write_submission({folder / "a"}, folder / "s.zip"); });
    BOOST_TEST(!std::filesystem::exists(folder / "s.zip"));
  };
  refused(rows_of(145, "0"), {"WNLI.tsv", "line 146", "expected 146 rows", "found 145"});
  refused(rows_of(147, "0"), {"WNLI.tsv", "expected 146 rows", "found 147"});
  refused(good.substr(good.find('\n') + 1), {"WNLI.tsv, line 1", "header"});
  refused("", {"WNLI.tsv, line 1", "header"});
  refused("index\tprediction\n0\t0\n2\t0\n", {"WNLI.tsv, line 3", "expected the index 1"});
  refused("index\tprediction\n0\tentailment\n", {"WNLI.tsv, line 2", "0|1", "'0\\x09entailment'"});
  refused("index\tprediction\n0\n", {"WNLI.tsv, line 2"});
  folder.write("b/STS-B.tsv", "index\tprediction\n0\t5.1\n");
  check_error_parts(ErrorKind::data, {"STS-B.tsv, line 2", "score from 0 to 5"},
                    [&] { write_submission({folder / "b"}, folder / "s.zip"); });
}

BOOST_AUTO_TEST_CASE(folders_that_do_not_fit) {
  const TemporaryFolder folder;
  folder.write("a/WNLI.tsv", rows_of(146, "0"));
  folder.write("b/WNLI.tsv", rows_of(146, "1"));
  folder.write("c/other.txt", "x");
  check_error_parts(ErrorKind::usage, {"WNLI.tsv", "/a", "/b"}, [&] {
    write_submission({folder / "a", folder / "b"}, folder / "s.zip");
  });
  check_error_parts(ErrorKind::data, {"/c", "CoLA.tsv"},
                    [&] { write_submission({folder / "c"}, folder / "s.zip"); });
  check_error_parts(ErrorKind::write, {"s.zip"},
                    [&] { write_submission({folder / "a"}, folder / "none" / "s.zip"); });
}

BOOST_AUTO_TEST_SUITE_END()
