#include "experiments/claim.h"

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "experiments/data_file.h"
#include "experiments/report_document.h"
#include "nn/printable.h"
#include "tensor/error.h"

namespace normtune {

namespace {

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

[[noreturn]] void fail_to_parse(const std::string& text) {
  fail(ErrorKind::usage,
       "--statements: expected ROW > ROW, ROW >= ROW - POINTS, drift COMPONENT > layers|COMPONENT or fisher "
       "..., "
       "found {}",
       printable(text));
}

bool is_about_component(const Statement& statement) {
  return statement.kind == Statement::Kind::drift || statement.kind == Statement::Kind::fisher;
}

std::string quantity_of(const Statement& statement) {
  return statement.kind == Statement::Kind::drift ? "drift" : "fisher";
}

// ---- Scores

std::vector<std::string> matching_rows(const ScoreTable& table, const std::string& pattern) {
  std::vector<std::string> rows;
  for (const std::string& row : table.rows) {
    if (fnmatch(pattern.c_str(), row.c_str(), 0) == 0) rows.push_back(row);
  }
  return rows;
}

/// Of the run with this seed; none unless each row has a score.
std::optional<double> mean_score(const ScoreTable& table, const std::vector<std::string>& rows,
                                 const std::string& task, size_t seed) {
  double sum = 0;
  for (const std::string& row : rows) {
    const std::optional<double>& score = table.cell(row, task).scores[seed];
    if (!score) return std::nullopt;
    sum += *score;
  }
  return sum / static_cast<double>(rows.size());
}

PairedDifferences paired_differences(const ScoreTable& table, const std::vector<std::string>& a,
                                     const std::vector<std::string>& b) {
  PairedDifferences differences;
  for (const std::string& task : table.tasks) {
    if (task == "average") continue;
    std::vector<double>& stratum = differences.emplace_back();
    for (size_t seed = 0; seed < static_cast<size_t>(table.num_seeds); ++seed) {
      const std::optional<double> first = mean_score(table, a, task, seed),
                                  second = mean_score(table, b, task, seed);
      if (first && second) stratum.push_back(*first - *second);
    }
  }
  return differences;
}

bool has_pairs(const PairedDifferences& differences) {
  return std::any_of(differences.begin(), differences.end(),
                     [](const std::vector<double>& stratum) { return !stratum.empty(); });
}

std::string score_evidence(const PairedTest& test) {
  return fmt::format(
      "{:+.2f} points (95 % interval {:+.2f} to {:+.2f}; p = {}, corrected {}; {} pairs of runs)",
      100 * test.difference, 100 * test.interval.low, 100 * test.interval.high, p_text(test.test.p),
      p_text(test.corrected_p), test.test.num_pairs);
}

Finding score_finding(const Statement& statement, const PairedTest& test) {
  if (statement.kind == Statement::Kind::not_lower) {
    if (test.test.num_pairs < 2) return Finding::undecided;
    if (test.interval.low > -statement.margin) return Finding::supported;
    return test.interval.high < -statement.margin ? Finding::not_supported : Finding::undecided;
  }
  if (test.corrected_p > significance) return Finding::undecided;
  return test.difference > 0 ? Finding::supported : Finding::not_supported;
}

// ---- Components

/// log(a / b) of the runs that have both, by task.
PairedDifferences log_ratios(const ComponentMeasurements& measurements, const std::string& a,
                             const std::string& b) {
  const auto first = measurements.by_run(a), second = measurements.by_run(b);
  std::map<std::string, std::vector<double>> by_task;
  for (const auto& [run, value] : first) {
    const auto other = second.find(run);
    if (other == second.end() || !(value > 0) || !(other->second > 0)) continue;
    by_task[run.first].push_back(std::log(value / other->second));
  }
  PairedDifferences ratios;
  for (auto& [task, values] : by_task) ratios.push_back(std::move(values));
  return ratios;
}

std::vector<std::string> rivals(const Statement& statement, const ComponentMeasurements& measurements) {
  if (statement.b != "layers") return {statement.b};
  std::vector<std::string> names = measurements.layer_components();
  std::erase(names, statement.a);
  return names;
}

std::vector<PairedTest> compare_with_rivals(const Statement& statement,
                                            const ComponentMeasurements& measurements) {
  std::vector<PairedTest> tests;
  for (const std::string& rival : rivals(statement, measurements)) {
    const PairedDifferences ratios = log_ratios(measurements, statement.a, rival);
    if (!has_pairs(ratios)) continue;
    tests.push_back({.a = statement.a,
                     .b = rival,
                     .differences = ratios,
                     .difference = stratified_mean(ratios),
                     .interval = bootstrap_interval(ratios),
                     .test = sign_flip_test(ratios)});
  }
  correct_for_number(tests);
  return tests;
}

std::string component_evidence(const std::vector<PairedTest>& tests) {
  const PairedTest& nearest =
      *std::min_element(tests.begin(), tests.end(),
                        [](const PairedTest& a, const PairedTest& b) { return a.difference < b.difference; });
  const auto above =
      std::count_if(tests.begin(), tests.end(), [](const PairedTest& test) { return test.difference > 0; });
  std::string text;
  if (tests.size() > 1) {
    text = fmt::format("on average number {} of {}; the strongest of the others is {}: ",
                       static_cast<int64_t>(tests.size()) - above + 1, tests.size() + 1, nearest.b);
  }
  return text + fmt::format("ratio {:.3g} (95 % interval {:.3g} to {:.3g}; p = {}, corrected {}; {} runs)",
                            std::exp(nearest.difference), std::exp(nearest.interval.low),
                            std::exp(nearest.interval.high), p_text(nearest.test.p),
                            p_text(nearest.corrected_p), nearest.test.num_pairs);
}

Finding component_finding(const std::vector<PairedTest>& tests) {
  bool all_above = true;
  for (const PairedTest& test : tests) {
    const bool counts = test.corrected_p <= significance;
    if (counts && test.difference < 0) return Finding::not_supported;
    all_above = all_above && counts;
  }
  return all_above ? Finding::supported : Finding::undecided;
}

void test_component(TestedStatement& tested, std::span<const ComponentMeasurements> measurements) {
  const auto found =
      std::find_if(measurements.begin(), measurements.end(), [&](const ComponentMeasurements& candidate) {
        return candidate.quantity == quantity_of(tested.statement);
      });
  if (found == measurements.end() || found->num_runs == 0) {
    tested.evidence = "no finished run has this measurement";
    return;
  }
  const std::vector<PairedTest> tests = compare_with_rivals(tested.statement, *found);
  if (tests.empty()) {
    tested.evidence = fmt::format("no finished run has {} and what it is compared with", tested.statement.a);
    return;
  }
  tested.finding = component_finding(tests);
  tested.evidence = component_evidence(tests);
}

}  // namespace

Statement parse_statement(const std::string& text) {
  std::vector<std::string> words = words_of(text);
  Statement statement;
  if (!words.empty() && (words[0] == "drift" || words[0] == "fisher")) {
    statement.kind = words[0] == "drift" ? Statement::Kind::drift : Statement::Kind::fisher;
    words.erase(words.begin());
  }
  const bool has_margin =
      words.size() == 5 && words[1] == ">=" && words[3] == "-" && !is_about_component(statement);
  if (!has_margin && !(words.size() == 3 && words[1] == ">")) fail_to_parse(text);
  statement.a = words[0];
  statement.b = words[2];
  if (!has_margin) return statement;
  const std::optional<double> points = parse_number(words[4]);
  if (!points || *points < 0) fail_to_parse(text);
  statement.kind = Statement::Kind::not_lower;
  statement.margin = *points / 100;
  return statement;
}

std::string describe(const Statement& statement) {
  switch (statement.kind) {
    case Statement::Kind::higher:
      return fmt::format("{} scores higher than {}", statement.a, statement.b);
    case Statement::Kind::not_lower:
      return fmt::format("{} is at most {} points below {}", statement.a, 100 * statement.margin,
                         statement.b);
    case Statement::Kind::drift:
    case Statement::Kind::fisher:
      break;
  }
  const char* what = statement.kind == Statement::Kind::drift ? "changes" : "has";
  const char* much =
      statement.kind == Statement::Kind::drift ? "more" : "more Fisher information (per element)";
  const std::string than =
      statement.b == "layers" ? "any other component of the encoder's layers" : statement.b;
  return fmt::format("{} {} {} than {}", statement.a, what, much, than);
}

std::string decision_rule(const Statement& statement) {
  switch (statement.kind) {
    case Statement::Kind::higher:
      return fmt::format(
          "supported if the mean difference over tasks and seeds is positive and the sign-flip test, "
          "corrected for the "
          "number of statements (Holm), gives p <= {0}; not supported if it is negative with p <= {0}; else "
          "undecided",
          significance);
    case Statement::Kind::not_lower:
      return fmt::format(
          "supported if the whole 95 % bootstrap interval of the mean difference lies above -{0} points; not "
          "supported "
          "if all of it lies below; else undecided",
          100 * statement.margin);
    case Statement::Kind::drift:
    case Statement::Kind::fisher:
      break;
  }
  return fmt::format(
      "supported if the ratio to each of the others is above 1 with p <= {0} (sign-flip test of its "
      "logarithm over tasks "
      "and seeds, corrected for the number of others); not supported if one of the others is above with p <= "
      "{0}; else "
      "undecided",
      significance);
}

const char* to_string(Finding finding) {
  switch (finding) {
    case Finding::supported:
      return "supported";
    case Finding::not_supported:
      return "not supported";
    case Finding::undecided:
      break;
  }
  return "undecided";
}

std::optional<PairedTest> compare_rows(const ScoreTable& table, const std::string& a, const std::string& b) {
  const std::vector<std::string> first = matching_rows(table, a), second = matching_rows(table, b);
  if (first.empty() || second.empty()) return std::nullopt;
  PairedTest test{.a = a, .b = b, .differences = paired_differences(table, first, second)};
  if (!has_pairs(test.differences)) return std::nullopt;
  test.difference = stratified_mean(test.differences);
  test.interval = bootstrap_interval(test.differences);
  test.test = sign_flip_test(test.differences);
  test.corrected_p = test.test.p;
  return test;
}

void correct_for_number(std::vector<PairedTest>& tests) {
  std::vector<double> p_values;
  for (const PairedTest& test : tests) p_values.push_back(test.test.p);
  const std::vector<double> corrected = holm_correction(p_values);
  for (size_t i = 0; i < tests.size(); ++i) tests[i].corrected_p = corrected[i];
}

std::string paired_tests_csv(const std::vector<PairedTest>& tests) {
  std::string text = "a,b,pairs,difference,low,high,p,corrected_p,exact\n";
  for (const PairedTest& test : tests) {
    text +=
        fmt::format("{},{},{},{},{},{},{},{},{}\n", test.a, test.b, test.test.num_pairs, test.difference,
                    test.interval.low, test.interval.high, test.test.p, test.corrected_p, test.test.exact);
  }
  return text;
}

std::vector<TestedStatement> test_statements(const std::vector<std::string>& texts, const ScoreTable& table,
                                             std::span<const ComponentMeasurements> measurements) {
  std::vector<TestedStatement> results;
  std::vector<PairedTest> tests;
  std::vector<size_t> tested_statements;  // whose tests these are
  for (const std::string& text : texts) {
    TestedStatement& result = results.emplace_back();
    result.text = text;
    result.statement = parse_statement(text);
    if (is_about_component(result.statement)) {
      test_component(result, measurements);
    } else if (std::optional<PairedTest> test = compare_rows(table, result.statement.a, result.statement.b)) {
      tests.push_back(std::move(*test));
      tested_statements.push_back(results.size() - 1);
    } else {
      result.evidence = "no two runs with equal task and seed have both scores";
    }
  }
  correct_for_number(tests);
  for (size_t i = 0; i < tests.size(); ++i) {
    TestedStatement& result = results[tested_statements[i]];
    result.finding = score_finding(result.statement, tests[i]);
    result.evidence = score_evidence(tests[i]);
  }
  return results;
}

Finding overall_finding(const std::vector<TestedStatement>& statements) {
  bool all_supported = !statements.empty();
  for (const TestedStatement& statement : statements) {
    if (statement.finding == Finding::not_supported) return Finding::not_supported;
    all_supported = all_supported && statement.finding == Finding::supported;
  }
  return all_supported ? Finding::supported : Finding::undecided;
}

std::string statements_csv(const std::vector<TestedStatement>& statements) {
  TableRows rows = {{"statement", "finding", "evidence"}};
  for (const TestedStatement& statement : statements) {
    rows.push_back({statement.text, to_string(statement.finding), statement.evidence});
  }
  return csv_text(rows);
}

}  // namespace normtune
