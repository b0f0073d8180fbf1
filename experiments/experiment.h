#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/claim.h"
#include "experiments/compare.h"
#include "experiments/report_document.h"

namespace normtune {

/// An experiment: a comparison, the claim that it tests, and the statements that decide it.
struct ExperimentOptions {
  ComparisonOptions comparison;         ///< its output folder holds `runs/`, shared by all experiments in it
  std::string name;                     ///< the report's folder in it
  std::string claim;                    ///< in plain words
  std::string measures;                 ///< what is done, in plain words
  std::string caveats;                  ///< what the data of this scale cannot show
  std::vector<std::string> statements;  ///< as parse_statement() takes them
  std::vector<std::string> command;     ///< as it was typed
};

/// Checks all that can be known before the first run: the name, the comparison's options and baselines, and
/// that its runs can decide every statement. Throws Error(usage), or Error(data) for the baselines.
void check_experiment(ExperimentOptions& options);

/// What an experiment gave.
struct ExperimentResult {
  int interrupted_by = 0;  ///< SIGINT or SIGTERM if that stopped it; else 0
  bool budget_spent = false;
  std::optional<int> first_failure;  ///< exit code of the first run that failed
  int64_t num_runs = 0;              ///< of all shards
  int64_t num_open = 0;              ///< of these, runs that nobody has tried yet

  std::vector<TestedStatement> statements;
  Finding finding = Finding::undecided;
  ReportDocument report;
  std::filesystem::path folder;    ///< where the report was written
  std::vector<std::string> notes;  ///< for people: figures that could not be drawn
};

/// Makes the masks and does the runs that are missing, then writes into `OUTPUT_DIR/NAME/`: report.html,
/// report.md, tables.tex, table.csv, tests.csv, statements.csv, runs.csv, drift.csv, fisher.csv,
/// outcomes.csv, costs.csv and figures/. Finished runs are never repeated; with all of them finished, neither
/// model nor data are needed. If runs are left open (budget, shards), the report is written of what is there,
/// and says so.
///
/// Throws as compare() does, and as check_experiment() before the first run.
ExperimentResult reproduce(ExperimentOptions options, const ProgressOutput& progress);

/// All that a report is made of.
struct ExperimentEvidence {
  PlannedComparison plan;
  ScoreTable table;
  std::vector<Baseline> baselines;
  std::vector<MethodCost> costs;
  std::vector<ComponentMeasurements> measurements;
  std::vector<TestedStatement> statements;
  std::vector<PairedTest> tests;  ///< each row against full and layernorm, and what statements compare
  int64_t num_open = 0, num_failed = 0;
};

/// Writes all files but report.html and report.md, which need the figures.
void write_experiment_tables(const ExperimentOptions& options, const ExperimentEvidence& evidence);
/// The report, with the figures of the folder.
ReportDocument make_experiment_report(const ExperimentOptions& options, const ExperimentEvidence& evidence,
                                      const std::vector<ReportFigure>& figures);

}  // namespace normtune
