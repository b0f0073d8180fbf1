#include "experiments/comparison_report.h"

#include <boost/test/unit_test.hpp>

#include "tests/experiments/comparison_fixture.h"

namespace normtune {

using fixtures::check_error_parts;

namespace {

ScoreCell cell(const std::string& row, const std::string& task, const std::string& metric,
               std::vector<std::optional<double>> scores, int64_t trainable) {
  ScoreCell cell{.row = row,
                 .task = task,
                 .metric = metric,
                 .scores = scores,
                 .trainable_parameters = trainable,
                 .total_parameters = 12345678};
  if (task != "average") cell.learning_rate = row == "random" ? 1e-3 : 5e-5;
  cell.summary = summarize(scores);
  return cell;
}

ScoreTable score_table() {
  ScoreTable table{
      .rows = {"full", "random"}, .tasks = {"cola", "stsb", "average"}, .split = "dev", .num_seeds = 2};
  table.cells = {cell("full", "cola", "matthews_correlation", {.5, .75}, 12345678),
                 cell("full", "stsb", "spearmanr", {.5, .5}, 12345678),
                 cell("full", "average", "mean", {.5, .625}, 12345678),
                 cell("random", "cola", "matthews_correlation", {.5, .75}, 1234),
                 cell("random", "stsb", "spearmanr", {.25, std::nullopt}, 1234),
                 cell("random", "average", "mean", {.375, std::nullopt}, 1234)};
  table.cells[3].degenerate = 1;
  table.cells[4].degenerate = table.cells[4].undefined = 1;
  table.cells[1].failed = 0;
  table.cells[3].failed = 1;
  return table;
}

const std::vector<Baseline> baselines = {{"bag of words", "cola", .125, "counts"},
                                         {"bag of words", "stsb", .375, "counts with overlap"},
                                         {"majority", "cola", 0, "by definition"}};

}  // namespace

BOOST_AUTO_TEST_SUITE(comparison_report)

BOOST_AUTO_TEST_CASE(markdown_to_the_byte) {
  const ComparisonReport report =
      make_comparison_report(score_table(), compare_methods(score_table()), baselines);
  BOOST_CHECK_EQUAL(report.markdown, R"(| method | cola | stsb | average | n | failed | trainable | share % |
|---|---:|---:|---:|---:|---:|---:|---:|
| full | **62.50 ± 17.68** | **50.00 ± 0.00** | **56.25 ± 8.84** | 2 | 0 | 12,345,678 | 100 |
| random | **62.50 ± 17.68** | 25.00 | 37.50 | 1-2 | 1 | 1,234 | 0.009995 |

- Scores in per cent on dev: cola matthews_correlation, stsb spearmanr. Mean ± sample standard deviation over 2 seeds; n: scores that exist.
- The average is taken over the tasks seed by seed; its deviation is that of the seeds' averages.
- Degenerate runs (one answer for every row of dev, or the score of its most frequent class): random on cola: 1 of 2, random on stsb: 1 of 2.
- Undefined scores (constant answers have no correlation) are left out of the means: random on stsb: 1 of 2.
- Learning rates: full 5e-05, random 0.001.
- An element mask (random, mask) costs what training its tensors whole costs; over the encoder, nearly as much as full.

| not run here | cola | stsb | average |
|---|---:|---:|---:|
| bag of words | 12.50 | 37.50 | 25.00 |
| majority | 0.00 | – | – |

- bag of words: counts; counts with overlap
- majority: by definition

## What the table shows

- full against the best score that was not run here, in points: +50.00 on cola, +12.50 on stsb.
)");
}

BOOST_AUTO_TEST_CASE(terminal_to_the_byte) {
  const ComparisonReport report = make_comparison_report(score_table(), compare_methods(score_table()), {});
  BOOST_CHECK_EQUAL(report.text,
                    R"(method           cola          stsb       average    n  failed   trainable   share %
full    62.50 ± 17.68  50.00 ± 0.00  56.25 ± 8.84    2       0  12,345,678       100
random  62.50 ± 17.68         25.00         37.50  1-2       1       1,234  0.009995

Scores in per cent on dev: cola matthews_correlation, stsb spearmanr. Mean ± sample standard deviation over 2 seeds; n: scores that exist.
The average is taken over the tasks seed by seed; its deviation is that of the seeds' averages.
Degenerate runs (one answer for every row of dev, or the score of its most frequent class): random on cola: 1 of 2, random on stsb: 1 of 2.
Undefined scores (constant answers have no correlation) are left out of the means: random on stsb: 1 of 2.
Learning rates: full 5e-05, random 0.001.
An element mask (random, mask) costs what training its tensors whole costs; over the encoder, nearly as much as full.
)");
}

BOOST_AUTO_TEST_CASE(latex_to_the_byte) {
  const ComparisonReport report = make_comparison_report(score_table(), {}, baselines);
  BOOST_CHECK_EQUAL(
      report.latex,
      R"(% Scores in per cent on dev: cola matthews_correlation, stsb spearmanr. Mean ± sample standard deviation over 2 seeds; n: scores that exist.
% The average is taken over the tasks seed by seed; its deviation is that of the seeds' averages.
% Degenerate runs (one answer for every row of dev, or the score of its most frequent class): random on cola: 1 of 2, random on stsb: 1 of 2.
% Undefined scores (constant answers have no correlation) are left out of the means: random on stsb: 1 of 2.
% Learning rates: full 5e-05, random 0.001.
% An element mask (random, mask) costs what training its tensors whole costs; over the encoder, nearly as much as full.
\begin{tabular}{lrrrrrrr}
\toprule
method & cola & stsb & average & n & failed & trainable & share \% \\
\midrule
full & \textbf{62.50 $\pm$ 17.68} & \textbf{50.00 $\pm$ 0.00} & \textbf{56.25 $\pm$ 8.84} & 2 & 0 & 12,345,678 & 100 \\
random & \textbf{62.50 $\pm$ 17.68} & 25.00 & 37.50 & 1-2 & 1 & 1,234 & 0.009995 \\
\bottomrule
\end{tabular}

% bag of words: counts; counts with overlap
% majority: by definition
\begin{tabular}{lrrr}
\toprule
not run here & cola & stsb & average \\
\midrule
bag of words & 12.50 & 37.50 & 25.00 \\
majority & 0.00 & – & – \\
\bottomrule
\end{tabular}
)");
}

BOOST_AUTO_TEST_CASE(baselines_from_a_file) {
  const fixtures::TemporaryFolder folder;
  const std::vector<Baseline> read = read_baselines(
      folder.write("good.csv", "method,task,score,source\nbag of words,cola,0.125,\"counts, by word\"\n"));
  BOOST_REQUIRE_EQUAL(read.size(), 1u);
  BOOST_CHECK_EQUAL(read[0].method, "bag of words");
  BOOST_CHECK_EQUAL(read[0].score, .125);
  BOOST_CHECK_EQUAL(read[0].source, "counts, by word");
  const auto refuses = [&](const std::string& content, const std::vector<std::string>& parts) {
    const std::filesystem::path file = folder.write("bad.csv", content);
    check_error_parts(ErrorKind::data, parts, [&] { read_baselines(file); });
  };
  refuses("", {"bad.csv", "method,task,score,source"});
  refuses("method,task,score\n", {"method,task,score,source"});
  refuses("method,task,score,source\nx,cola,.5\n", {"bad.csv:2", "4 fields", "3"});
  refuses("method,task,score,source\nx,cola,12.5,y\n", {"bad.csv:2", "fraction", "12.5"});
  check_error_parts(ErrorKind::data, {"nowhere.csv"}, [&] { read_baselines(folder / "nowhere.csv"); });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace normtune
