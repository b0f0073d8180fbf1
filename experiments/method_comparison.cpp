#include "experiments/method_comparison.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "experiments/csv_file.h"

namespace normtune {

namespace {

constexpr std::array<std::pair<const char*, const char*>, 5> pairs = {{{"full", "full@untrained"},
                                                                       {"full", "head"},
                                                                       {"layernorm", "head"},
                                                                       {"layernorm", "full"},
                                                                       {"random", "layernorm"}}};

/// Square of the standard error of a mean.
double variance_of_mean(const ScoreSummary& summary) {
  return *summary.sd * *summary.sd / static_cast<double>(summary.n);
}

MethodComparison compare_cells(const ScoreCell& a, const ScoreCell& b) {
  MethodComparison comparison{.a = a.row, .b = b.row, .task = a.task};
  if (!a.summary.mean || !b.summary.mean) return comparison;
  comparison.difference = *a.summary.mean - *b.summary.mean;
  if (!a.summary.sd || !b.summary.sd) return comparison;
  comparison.standard_error = std::sqrt(variance_of_mean(a.summary) + variance_of_mean(b.summary));
  const bool clear = std::abs(*comparison.difference) > 2 * *comparison.standard_error + score_rounding;
  comparison.verdict = !clear                       ? Verdict::within
                       : *comparison.difference > 0 ? Verdict::above
                                                    : Verdict::below;
  return comparison;
}

struct Counts {
  int64_t above = 0, below = 0, unknown = 0, tasks = 0;
};

Counts count_verdicts(std::span<const MethodComparison> pair) {
  Counts counts;
  for (const MethodComparison& comparison : pair) {
    if (comparison.task == "average") continue;
    ++counts.tasks;
    counts.above += comparison.verdict == Verdict::above ? 1 : 0;
    counts.below += comparison.verdict == Verdict::below ? 1 : 0;
    counts.unknown += comparison.verdict == Verdict::unknown ? 1 : 0;
  }
  return counts;
}

std::string count_text(int64_t count, int64_t of) {
  return count == 0 ? fmt::format("none of {}", of) : fmt::format("{} of {}", count, of);
}

std::string describe_average(const MethodComparison& average) {
  const char* subject = average.task == "average" ? "its average" : "its score";
  if (!average.difference) return "";
  const double points = 100 * *average.difference;
  std::string text =
      fmt::format("; {} is {:.2f} points {}", subject, std::abs(points), points < 0 ? "lower" : "higher");
  if (average.standard_error) text += fmt::format(" (standard error {:.2f})", 100 * *average.standard_error);
  return text;
}

/// The comparisons of one pair, the average (or the only task) last.
std::string describe_pair(std::span<const MethodComparison> pair) {
  const Counts counts = count_verdicts(pair);
  const MethodComparison& last = pair.back();
  std::string text;
  if (counts.unknown == counts.tasks) {
    text = fmt::format("{} and {}: no statement is possible, it takes two scores of each", last.a, last.b);
  } else {
    text = fmt::format("{} is above {} by more than two standard errors on {} task{}, below it on {}", last.a,
                       last.b, count_text(counts.above, counts.tasks), counts.tasks == 1 ? "" : "s",
                       counts.below == 0 ? "none" : fmt::format("{}", counts.below));
    if (counts.unknown > 0) text += fmt::format(", without two scores of each on {}", counts.unknown);
  }
  return text + describe_average(last) + ".";
}

}  // namespace

const char* to_string(Verdict verdict) {
  constexpr std::array<const char*, 4> names = {"above", "below", "within", "unknown"};
  return names[static_cast<size_t>(verdict)];
}

std::vector<MethodComparison> compare_methods(const ScoreTable& table) {
  std::vector<MethodComparison> comparisons;
  for (const auto& [a, b] : pairs) {
    if (!table.has_row(a) || !table.has_row(b)) continue;
    for (const std::string& task : table.tasks) {
      comparisons.push_back(compare_cells(table.cell(a, task), table.cell(b, task)));
    }
  }
  return comparisons;
}

std::string method_comparisons_csv(const std::vector<MethodComparison>& comparisons) {
  std::string text = "a,b,task,difference,standard_error,verdict\n";
  for (const MethodComparison& comparison : comparisons) {
    text += fmt::format("{},{},{},{},{},{}\n", comparison.a, comparison.b, comparison.task,
                        text_or_empty(comparison.difference), text_or_empty(comparison.standard_error),
                        to_string(comparison.verdict));
  }
  return text;
}

std::vector<std::string> describe_comparisons(const std::vector<MethodComparison>& comparisons) {
  std::vector<std::string> sentences;
  for (size_t begin = 0; begin < comparisons.size();) {
    size_t end = begin;
    while (end < comparisons.size() && comparisons[end].a == comparisons[begin].a &&
           comparisons[end].b == comparisons[begin].b) {
      ++end;
    }
    sentences.push_back(describe_pair(std::span(comparisons).subspan(begin, end - begin)));
    begin = end;
  }
  return sentences;
}

}  // namespace normtune
