#include <boost/test/unit_test.hpp>
#include <cmath>

#include "experiments/dataset.h"
#include "tests/experiments/fixtures.h"

using namespace normtune;
using fixtures::check_error_parts;
using fixtures::TemporaryFolder;

namespace {

Dataset load(const TemporaryFolder& folder, const char* task, const std::string& split,
             int64_t max_samples = all_samples) {
  return load_glue(find_task(task), folder.path(), split, max_samples);
}

/// idx, label and texts of each row, for comparison in one look.
std::string glue_summary(const Dataset& dataset) {
  std::string text;
  for (const Example& example : dataset.examples) {
    text += fmt::format("{}:{}:{}", example.idx, example.label, example.sentence1);
    if (example.sentence2) text += "/" + *example.sentence2;
    text += ";";
  }
  return text;
}

const std::string rte_header = "index\tsentence1\tsentence2\tlabel\n";
const std::string mrpc_header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n";
const std::string stsb_header =
    "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n";
const std::string mnli_common =
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
    "sentence2_parse\tsentence1\tsentence2";

std::string mnli_row(int index, const std::string& labels) {
  return fmt::format("{}\tp\tq\tg\tb1\tb2\tp1\tp2\tpremise {}\thypothesis {}{}\n", index, index, index,
                     labels);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(glue_reader)

BOOST_AUTO_TEST_CASE(cola_has_no_header) {
  const TemporaryFolder folder;
  folder.write("CoLA/dev.tsv", "gj04\t1\t\tFine \"so\" far. \ngj04\t0\t*\tSo \"bad.");
  const Dataset dataset = load(folder, "cola", "dev");
  // Quotes are characters, trailing blanks stay, the last line lacks its LF.
  BOOST_TEST(glue_summary(dataset) == "0:1:Fine \"so\" far. ;1:0:So \"bad.;");
  BOOST_TEST(dataset.labelled);
  BOOST_TEST(!dataset.examples[0].sentence2);
  BOOST_REQUIRE(dataset.warnings.size() == 1u);
  BOOST_TEST(dataset.warnings[0].find("expected 1043 rows (cola dev), found 2") != std::string::npos);
  BOOST_TEST(dataset.files[0] == folder / "CoLA/dev.tsv");
}

BOOST_AUTO_TEST_CASE(test_splits_have_an_index_and_no_label) {
  const TemporaryFolder folder;
  folder.write("CoLA/test.tsv", "index\tsentence\n0\tA.\n1\tB.\n");
  const Dataset dataset = load(folder, "cola", "test");
  BOOST_TEST(glue_summary(dataset) == "0:-1:A.;1:-1:B.;");
  BOOST_TEST(!dataset.labelled);
}

BOOST_AUTO_TEST_CASE(labelled_test_files_look_like_dev) {
  const TemporaryFolder folder;
  folder.write("CoLA/test_labelled.tsv", "x\t1\t\tA.\n");
  const Dataset dataset = load(folder, "cola", "test_labelled");
  BOOST_TEST(glue_summary(dataset) == "0:1:A.;");
  BOOST_TEST(dataset.warnings.empty());  // nobody published a row count
}

BOOST_AUTO_TEST_CASE(a_folder_may_state_its_own_row_counts) {
  const TemporaryFolder folder;
  folder.write("CoLA/dev.tsv", "x\t1\t\tA.\nx\t0\t\tB.\n");
  folder.write("row_counts.tsv", "file\trows\nCoLA/train.tsv\t7\nCoLA/dev.tsv\t2\n");
  BOOST_TEST(load(folder, "cola", "dev").warnings.empty());
  folder.write("row_counts.tsv", "file\trows\nCoLA/dev.tsv\t3\n");
  const Dataset cut = load(folder, "cola", "dev");
  BOOST_REQUIRE(cut.warnings.size() == 1u);
  BOOST_TEST(cut.warnings[0].find("expected 3 rows (cola dev), found 2") != std::string::npos);
  folder.write("row_counts.tsv", "file\trows\nCoLA/train.tsv\t7\n");
  BOOST_TEST(load(folder, "cola", "dev").warnings[0].find("expected 1043 rows") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(malformed_row_counts) {
  const TemporaryFolder folder;
  folder.write("CoLA/dev.tsv", "x\t1\t\tA.\n");
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"CoLA/dev.tsv\t1\n", {"row_counts.tsv: line 1", "header file|rows"}},
      {"file\trows\nCoLA/dev.tsv\tmany\n", {"row_counts.tsv: line 2", "a file and its number of rows"}},
      {"file\trows\nCoLA/dev.tsv\n", {"row_counts.tsv: line 2", "CoLA/dev.tsv"}}};
  for (const auto& [content, parts] : cases) {
    folder.write("row_counts.tsv", content);
    check_error_parts(ErrorKind::data, parts, [&] { load(folder, "cola", "dev"); });
  }
}

BOOST_AUTO_TEST_CASE(byte_order_mark_and_carriage_returns) {
  const TemporaryFolder folder;
  folder.write("MRPC/train.tsv", "\xEF\xBB\xBF" + mrpc_header + "1\t7\t8\tHe said \"no\tShe said \" no\n");
  BOOST_TEST(glue_summary(load(folder, "mrpc", "train")) == "0:1:He said \"no/She said \" no;");
  folder.write("RTE/dev.tsv",
               "index\tsentence1\tsentence2\tlabel\r\n4\ta\tb\tentailment\r\n5\tc\rd\te\tnot_entailment\r\n");
  const Dataset rte = load(folder, "rte", "dev");
  BOOST_TEST(glue_summary(rte) == "4:0:a/b;5:1:c\rd/e;");
  BOOST_TEST(rte.warnings.size() == 1u);  // the row count alone
}

BOOST_AUTO_TEST_CASE(columns_are_found_by_name) {
  const TemporaryFolder folder;
  folder.write("RTE/dev.tsv", "index\tlabel\tsentence2\tsentence1\textra\n3\tentailment\ttwo\tone\tx\n");
  const Dataset dataset = load(folder, "rte", "dev");
  BOOST_TEST(glue_summary(dataset) == "3:0:one/two;");
  BOOST_TEST(dataset.warnings[0].find("expected the header index|sentence1|sentence2|label") !=
             std::string::npos);
}

BOOST_AUTO_TEST_CASE(mrpc_from_the_paraphrase_corpus) {
  const TemporaryFolder folder;
  folder.write("MRPC/msr_paraphrase_train.txt",
               "\xEF\xBB\xBF"
               "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
               "1\t10\t11\ta\tb\r\n0\t20\t21\tc\td\r\n1\t30\t31\te\tf\r\n0\t21\t20\tg\th\r\n");
  folder.write("MRPC/dev_ids.tsv", "20\t21\n30\t31\n");
  const Dataset train = load(folder, "mrpc", "train");
  BOOST_TEST(glue_summary(train) == "0:1:a/b;1:0:g/h;");  // a pair the other way round is another pair
  BOOST_TEST(glue_summary(load(folder, "mrpc", "dev")) == "0:0:c/d;1:1:e/f;");
  BOOST_TEST(train.files.size() == 2u);
  BOOST_TEST(train.warnings[0].find("expected 3668 rows (mrpc train), found 2") != std::string::npos);
  check_error_parts(ErrorKind::data, {"MRPC/test.tsv"}, [&] { load(folder, "mrpc", "test"); });
  folder.write("MRPC/dev_ids.tsv", "20\t21\n30\n");
  check_error_parts(ErrorKind::data, {"dev_ids.tsv, line 2", "expected 2 ids, found 1"},
                    [&] { load(folder, "mrpc", "dev"); });
  // A ready file comes first.
  folder.write("MRPC/dev.tsv", mrpc_header + "1\t1\t2\tx\ty\n");
  BOOST_TEST(glue_summary(load(folder, "mrpc", "dev")) == "0:1:x/y;");
}

BOOST_AUTO_TEST_CASE(qqp_skips_a_few_short_rows) {
  const TemporaryFolder folder;
  const std::string header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n";
  folder.write("QQP/train.tsv", header + "133\t1\t2\ta?\tb?\t0\n134\t3\t4\tcut\n135\t5\t6\tc?\td?\t1\n");
  const Dataset dataset = load(folder, "qqp", "train");
  BOOST_TEST(glue_summary(dataset) == "133:0:a?/b?;135:1:c?/d?;");
  BOOST_TEST(dataset.warnings[0].find("skipped 1 rows with too few fields") != std::string::npos);
  BOOST_TEST(dataset.warnings[1].find("363846 or 363849") != std::string::npos);

  std::string many = header;
  for (int i = 0; i < 101; ++i) many += "1\tshort\n";
  folder.write("QQP/train.tsv", many);
  check_error_parts(ErrorKind::data, {"QQP/train.tsv, line 102", "more than 100 rows"},
                    [&] { load(folder, "qqp", "train"); });
  folder.write("QQP/dev.tsv", header + "1\t2\t3\ta\tb\t0\textra\n");
  check_error_parts(ErrorKind::data, {"line 2", "expected 6 fields", "found 7"},
                    [&] { load(folder, "qqp", "dev"); });
  folder.write("QQP/test.tsv", "id\tquestion1\tquestion2\n0\ta\tb\n1\tcut\n");
  check_error_parts(ErrorKind::data, {"line 3", "expected 3 fields", "found 2"},
                    [&] { load(folder, "qqp", "test"); });
}

BOOST_AUTO_TEST_CASE(mnli) {
  const TemporaryFolder folder;
  const std::string dev_header = mnli_common + "\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n";
  folder.write("MNLI/train.tsv",
               mnli_common + "\tlabel1\tgold_label\n" + mnli_row(0, "\tneutral\tcontradiction"));
  folder.write("MNLI/dev_matched.tsv", dev_header + mnli_row(0, "\ta\tb\tc\td\te\tneutral") +
                                           mnli_row(1, "\ta\tb\tc\td\te\t-") +
                                           mnli_row(2, "\ta\tb\tc\td\te\tentailment"));
  folder.write("MNLI/dev_mismatched.tsv", dev_header + mnli_row(7, "\ta\tb\tc\td\te\tcontradiction"));
  folder.write("MNLI/test_matched.tsv", mnli_common + "\n" + mnli_row(0, ""));
  const Dataset train = load(folder, "mnli", "train");
  BOOST_TEST(glue_summary(train) == "0:2:premise 0/hypothesis 0;");
  BOOST_TEST(train.warnings.size() == 1u);
  const Dataset matched = load(folder, "mnli", "dev_matched");
  BOOST_TEST(glue_summary(matched) == "0:1:premise 0/hypothesis 0;2:0:premise 2/hypothesis 2;");
  BOOST_TEST(matched.warnings[0].find("skipped 1 rows whose gold_label is '-'") != std::string::npos);
  BOOST_TEST(glue_summary(load(folder, "mnli", "dev_mismatched")) == "7:2:premise 7/hypothesis 7;");
  BOOST_TEST(glue_summary(load(folder, "mnli", "test_matched")) == "0:-1:premise 0/hypothesis 0;");
  check_error_parts(ErrorKind::usage, {"no split 'dev'", "dev_matched"},
                    [&] { load(folder, "mnli", "dev"); });
}

BOOST_AUTO_TEST_CASE(diagnostics_in_several_places) {
  for (const char* name :
       {"diagnostic/diagnostic.tsv", "diagnostic/AX.tsv", "MNLI/diagnostic.tsv", "AX/AX.tsv"}) {
    const TemporaryFolder folder;
    folder.write(name, "index\tsentence1\tsentence2\n0\ta\tb\n");
    BOOST_TEST(glue_summary(load(folder, "ax", "test")) == "0:-1:a/b;");
  }
}

BOOST_AUTO_TEST_CASE(sts_scores) {
  const TemporaryFolder folder;
  const auto row = [](const std::string& score) { return "5\tg\tf\ty\t1\ts\tt\tone\ttwo\t" + score + "\n"; };
  folder.write("STS-B/dev.tsv", stsb_header + row("5.000") + row("0") + row("3.8"));
  const Dataset dataset = load(folder, "stsb", "dev");
  BOOST_TEST(dataset.regression);
  BOOST_TEST(dataset.examples[0].target == 5.0);
  BOOST_TEST(dataset.examples[1].target == 0.0);
  BOOST_TEST(dataset.examples[2].target == 3.8);
  BOOST_TEST(dataset.examples[2].idx == 5);
  for (const char* bad : {"", "nan", "inf", "abc", "5.001", "-0.1", "1.0 ", "1e999"}) {
    folder.write("STS-B/dev.tsv", stsb_header + row("1.0") + row(bad));
    check_error_parts(ErrorKind::data,
                      {"STS-B/dev.tsv, line 3", "score from 0 to 5", fmt::format("'{}'", bad)},
                      [&] { load(folder, "stsb", "dev"); });
  }
  folder.write("STS-B/test.tsv",
               stsb_header.substr(0, stsb_header.rfind('\t')) + "\n0\tg\tf\ty\t1\ts\tt\tone\ttwo\n");
  const Dataset test = load(folder, "stsb", "test");
  BOOST_TEST(std::isnan(test.examples[0].target));
  BOOST_TEST(!test.labelled);
}

BOOST_AUTO_TEST_CASE(json_lines_of_the_hub) {
  const TemporaryFolder folder;
  folder.write("QNLI/dev.jsonl", R"({"question": "q?", "sentence": "s", "label": 1, "idx": 12})"
                                 "\n"
                                 R"({"question": "r?", "sentence": "t", "label": 0, "idx": 13})"
                                 "\n");
  const Dataset dataset = load(folder, "qnli", "dev");
  BOOST_TEST(glue_summary(dataset) == "12:1:q?/s;13:0:r?/t;");
  BOOST_TEST(dataset.task == "qnli");
  BOOST_TEST(dataset.warnings.size() == 1u);
  folder.write("QNLI/test.jsonl", R"({"question": "q?", "sentence": "s", "label": -1, "idx": 0})"
                                  "\n");
  const Dataset test = load(folder, "qnli", "test");
  BOOST_TEST(glue_summary(test) == "0:-1:q?/s;");
  BOOST_TEST(!test.labelled);
  folder.write("QNLI/train.jsonl", R"({"question": "q?", "sentence": "s", "label": -1})"
                                   "\n");
  check_error_parts(ErrorKind::data, {"train.jsonl, line 1", "expected a label, found -1"},
                    [&] { load(folder, "qnli", "train"); });
  folder.write("QNLI/train.jsonl", R"({"question": "q?", "sentence": "s", "label": 2})"
                                   "\n");
  check_error_parts(ErrorKind::data, {"line 1", "entailment, not_entailment", "'2'"},
                    [&] { load(folder, "qnli", "train"); });
  folder.write("STS-B/test.jsonl", R"({"sentence1": "a", "sentence2": "b", "label": -1.0, "idx": 0})"
                                   "\n");
  BOOST_TEST(std::isnan(load(folder, "stsb", "test").examples[0].target));
  folder.write("CoLA/dev.jsonl", R"({"sentence1": "a", "sentence2": "b", "label": 1})"
                                 "\n");
  check_error_parts(ErrorKind::data, {"expected one text per row (cola), found two"},
                    [&] { load(folder, "cola", "dev"); });
}

BOOST_AUTO_TEST_CASE(first_rows) {
  const TemporaryFolder folder;
  folder.write("CoLA/train.tsv", "x\t1\t\ta\nx\t0\t\tb\nx\t1\t\tc\n");
  const Dataset dataset = load(folder, "cola", "train", 2);
  BOOST_TEST(glue_summary(dataset) == "0:1:a;1:0:b;");
  BOOST_TEST(dataset.warnings[0].find("found 3") != std::string::npos);
  BOOST_CHECK_THROW(load(folder, "cola", "train", 0), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(malformed_rows) {
  struct Case {
    std::string file, content, task, split;
    std::vector<std::string> message;
  };
  const std::vector<Case> cases = {
      {"CoLA/train.tsv", "x\t1\t\ta\nx\t1\ta\n", "cola", "train", {"line 2", "expected 4 fields", "found 3"}},
      {"CoLA/train.tsv", "x\t1\t\ta\tb\n", "cola", "train", {"line 1", "expected 4 fields", "found 5"}},
      {"CoLA/train.tsv", "x\t2\t\ta\n", "cola", "train", {"line 1", "label of cola (0, 1)", "found '2'"}},
      {"CoLA/train.tsv", "x\t\t\ta\n", "cola", "train", {"line 1", "found ''"}},
      {"CoLA/train.tsv", "source\tlabel\tmark\tsentence\n", "cola", "train", {"line 1", "found 'label'"}},
      {"CoLA/train.tsv", "x\t1\t\ta\n\nx\t1\t\ta\n", "cola", "train", {"line 2", "found 1"}},
      {"CoLA/train.tsv", "x\t1\t\ta\nx\t0\t\tb\xFF\n", "cola", "train", {"line 2", "UTF-8", "0xff"}},
      {"CoLA/train.tsv", "", "cola", "train", {"expected rows, found none"}},
      {"CoLA/test.tsv", "", "cola", "test", {"expected a header and rows, found an empty file"}},
      {"CoLA/test.tsv", "index\tsentence\n", "cola", "test", {"expected rows, found none"}},
      {"CoLA/test.tsv", "index\tsentence\nx\ta\n", "cola", "test", {"line 2", "row index", "found 'x'"}},
      {"CoLA/test.tsv", "index\tsentence\n-1\ta\n", "cola", "test", {"line 2", "row index", "found '-1'"}},
      {"CoLA/test.tsv",
       "0\tA sentence.\n",
       "cola",
       "test",
       {"line 1", "column 'sentence'", "index|sentence"}},
      {"RTE/dev.tsv", "index\tsentence1\tsentence1\tlabel\n", "rte", "dev", {"line 1", "column 'sentence1'"}},
      {"RTE/dev.tsv",
       "index\tpremise\tsentence2\tlabel\n",
       "rte",
       "dev",
       {"line 1", "column 'sentence1'", "found 'index|premise|sentence2|label'"}},
      {"RTE/dev.tsv",
       rte_header + "0\ta\tb\tneutral\n",
       "rte",
       "dev",
       {"line 2", "entailment, not_entailment", "'neutral'"}},
      {"SST-2/dev.tsv", "sentence\tlabel\na\t1\x01\n", "sst2", "dev", {"line 2", "found '1\\x01'"}},
  };
  for (const Case& bad : cases) {
    const TemporaryFolder folder;
    folder.write(bad.file, bad.content);
    std::vector<std::string> parts = bad.message;
    parts.push_back(bad.file);
    check_error_parts(ErrorKind::data, parts, [&] { load(folder, bad.task.c_str(), bad.split); });
  }
  const TemporaryFolder empty;
  check_error_parts(ErrorKind::data, {"CoLA/train.tsv: no such file", "--glue_dir"},
                    [&] { load(empty, "cola", "train"); });
  check_error_parts(ErrorKind::usage, {"no split 'validation'"}, [&] { load(empty, "cola", "validation"); });
}

// Whatever a damaged disk makes of a file: a data set or an error that names the file, never a crash.
BOOST_AUTO_TEST_CASE(every_truncation_and_bit_flip) {
  const TemporaryFolder folder;
  const std::string good = rte_header + "0\tcaf\xC3\xA9\tb\tentailment\r\n1\tc\td \"e\tnot_entailment\n";
  int64_t loaded = 0, refused = 0;
  const auto attempt = [&](const std::string& content) {
    folder.write("RTE/dev.tsv", content);
    try {
      loaded += load(folder, "rte", "dev").examples.empty() ? 0 : 1;
    } catch (const Error& error) {
      BOOST_CHECK(error.kind() == ErrorKind::data);
      BOOST_CHECK(std::string(error.what()).find("RTE/dev.tsv") != std::string::npos);
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

BOOST_AUTO_TEST_SUITE_END()
