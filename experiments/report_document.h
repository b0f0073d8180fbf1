#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/text_table.h"

namespace normtune {

struct ReportTable {
  std::string title;
  TableRows rows;  ///< heading first; `**text**` is bold
  std::vector<std::string> notes;
  bool folded = false;    ///< long: only HTML shows it, closed until it is asked for
  bool on_files = false;  ///< not for a terminal
};

struct ReportFigure {
  std::string title, caption;
  std::filesystem::path svg;
};

struct ReportSection {
  std::string heading;
  std::vector<std::string> paragraphs;
  std::vector<std::string> items;
  std::vector<ReportTable> tables;
  std::vector<ReportFigure> figures;
  bool on_files = false;  ///< not for a terminal
};

/// A report as a value, written out in each format by the functions below.
struct ReportDocument {
  std::string title;
  std::string claim;
  std::string verdict;         ///< supported, not supported, undecided
  std::string verdict_reason;  ///< a sentence
  std::vector<ReportSection> sections;
};

/// For a terminal: without figures and folded tables.
std::string report_text(const ReportDocument& report);
std::string report_markdown(const ReportDocument& report);
/// The tables, each a tabular with the rules of booktabs.
std::string report_latex(const ReportDocument& report);
/// One file without outside resources: style and figures are inside. Throws Error(data) if a figure cannot be
/// read.
std::string report_html(const ReportDocument& report);

/// Comma-separated values (RFC 4180): fields with a comma, a quote or a line end are quoted.
std::string csv_text(const TableRows& rows);

}  // namespace normtune
